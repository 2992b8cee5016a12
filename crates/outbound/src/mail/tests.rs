//! Letters and the office that sends them, without a server: one is asked in the tests of the whole gateway.

use super::*;

fn letter(to: &str) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "A subject",
        text: "Über allen\nGipfeln".to_owned(),
        useful_for: Duration::from_secs(900),
    }
}

fn formatted(to: &str) -> Option<String> {
    let from: Mailbox = "Portcullis <no-reply@example.com>".parse().unwrap();
    let message = message(&from, &letter(to))?;
    Some(String::from_utf8(message.formatted()).unwrap())
}

/// A server that is not there.
fn nowhere() -> Mail {
    Mail {
        server: MailServer {
            host: "127.0.0.1".to_owned(),
            port: 9,
            tls: MailTls::Plain,
            login: None,
        },
        from: "no-reply@example.com".to_owned(),
        reset_link: None,
        verify_link: None,
        ca: None,
    }
}

#[test]
fn a_letter_is_plain_text_to_one_address() {
    let text = formatted("saad+hotel@example.com").unwrap();
    assert!(text.contains("To: saad+hotel@example.com\r\n"), "{text}");
    assert!(text.contains("Content-Type: text/plain; charset=utf-8\r\n"));
    assert_eq!(text.matches("\r\nTo: ").count(), 1, "{text}");
}

#[test]
fn no_address_reaches_beyond_its_line() {
    for to in [
        "saad@example.com\r\nBcc: eve@example.com",
        "saad@example.com\nBcc: eve@example.com",
        "saad@example.com, eve@example.com",
        "Saad <saad@example.com>",
        "",
    ] {
        assert_eq!(formatted(to), None, "{to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_letters_wait_as_may_and_no_longer_than_they_are_of_use() {
    let office = Arc::new(Office::open(&nowhere()).unwrap());
    for _ in 0..PLACES {
        office.take(letter("saad@example.com")).unwrap();
    }
    assert_eq!(office.take(letter("saad@example.com")), Err(Crowded));
    // Attempts and pauses pass by themselves while nothing else happens.
    while office.places.available_permits() < PLACES {
        sleep(Duration::from_secs(60)).await;
    }
    office.take(letter("saad@example.com")).unwrap();
    assert!(office.is_down.load(Ordering::Relaxed));
}
