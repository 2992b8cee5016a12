//! Passwords of a whole gateway: users of another system taken in by the real command, and files that are wrong.

use std::{fs, process::Output};

use portcullis_config::storage::Database;
use portcullis_harness::gateway::{Gateway, House};
use portcullis_store::{OpenMode, Store};
use serde_json::Value;

use crate::{
    sign_in_stage::{configuration, sign_in, start},
    stage,
};

/// Made by the `bcrypt` package of Python of the word `password`.
const BCRYPT: &str = "$2b$05$qX2CK2M3QNGcyDzDbF5Wk.lizexnIKGSp1.vcgTlvUZc5KKrnRHva";
/// Made by `passlib`, likewise.
const SCRYPT: &str =
    "$scrypt$ln=10,r=8,p=2$uxeCsPaecy6F0JpTirF27g$zsQYeqJxqZMKnoVmtmw8cV9JLYxeDGya/4wSgjavBko";
/// Made by `argon2-cffi`, likewise.
const ARGON2I: &str = "$argon2i$v=19$m=1024,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$1yFCIKvrdbWrwOWIJvHwzicwWfby91tjmUZh6KQ0qQI";

/// SHA-1 of `a horse of no particular colour`, and something before it.
const HORSE: &str = "B96832EAAA87F7556F9113415950BDBD156A3224";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn import(house: &House, name: &str, text: &str, more: &[&str]) -> Output {
    let file = house.path(name);
    fs::write(&file, text).unwrap();
    let mut arguments = vec!["user", "import", file.to_str().unwrap()];
    arguments.extend(more);
    house.command(&arguments).unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The scheme and the hash that stand in the row.
fn stored(house: &House, name: &str) -> (String, String) {
    let database = Database::Sqlite(house.path("data/portcullis.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open(&database, OpenMode::Tool, "test")
            .await
            .unwrap();
        let (_, record) = store.user_by_login(name).await.unwrap().unwrap();
        store.close().await;
        let record = record.unwrap();
        (record.scheme().to_owned(), record.expose_hash().to_owned())
    })
}

fn gateway() -> Gateway {
    start("password: { hash: { memory: 8MiB, iterations: 1 } }")
}

#[test]
fn users_of_another_system_sign_in_and_their_hashes_become_argon2id() {
    let gateway = gateway();
    let house = gateway.house();
    let text = format!(
        "username,password_hash,roles\r\nbertha,{BCRYPT},guest\r\n\"scilla\",\"{SCRYPT}\",\r\narno,\"{ARGON2I}\",admin guest\r\n"
    );
    let imported = import(house, "users.csv", &text, &[]);
    assert!(imported.status.success(), "{}", said(&imported));
    assert_eq!(said(&imported).trim(), "imported: 3");
    let mut client = gateway.client();
    for (name, scheme) in [
        ("bertha", "bcrypt"),
        ("scilla", "scrypt"),
        ("arno", "argon2"),
    ] {
        assert_eq!(stored(house, name).0, scheme);
        assert_eq!(sign_in(&mut client, name, "passwore").status, 401);
        assert_eq!(stored(house, name).0, scheme, "a failure changes nothing");
        assert_eq!(sign_in(&mut client, name, "password").status, 200, "{name}");
        let (scheme, hash) = stored(house, name);
        assert_eq!(scheme, "argon2id-nfkc");
        assert!(hash.starts_with("$argon2id$v=19$m=8192,t=1,p=1$"), "{hash}");
        assert_eq!(sign_in(&mut client, name, "password").status, 200);
    }
    gateway.stop().unwrap();
}

#[test]
fn a_file_with_a_mistake_imports_nobody_and_says_which_line() {
    let gateway = gateway();
    let house = gateway.house();
    let text = format!(
        "{{\"username\":\"good\",\"password_hash\":\"{BCRYPT}\"}}\n\
         {{\"username\":\"dear\",\"password_hash\":\"{}\"}}\n\
         \n\
         {{\"username\":\"GOOD\"}}\n\
         {{\"username\":\"low\",\"roles\":[\"root\"]}}\n\
         {{\"user\":\"x\"}}\n",
        BCRYPT.replacen("05", "31", 1)
    );
    let refused = import(house, "users.jsonl", &text, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = said(&refused);
    for told in [
        "users.jsonl:2: the parameters of the hash are beyond what this gateway runs",
        "users.jsonl:4: \"good\" is in the file twice",
        "users.jsonl:5: there is no role \"root\"",
        "users.jsonl:6: unknown field `user`",
        "imported: 0, not imported: 4",
    ] {
        assert!(said.contains(told), "{told} in {said}");
    }
    let mut client = gateway.client();
    assert_eq!(sign_in(&mut client, "good", "password").status, 401);
    gateway.stop().unwrap();
}

#[test]
fn the_same_file_once_more_takes_in_who_is_not_there_yet() {
    let gateway = gateway();
    let house = gateway.house();
    let line = |name: &str| format!("{{\"username\":\"{name}\",\"password_hash\":\"{BCRYPT}\"}}\n");
    import(house, "first.jsonl", &line("one"), &[]);
    let both = line("one") + &line("two");
    let again = import(house, "both.jsonl", &both, &["--json"]);
    assert_eq!(again.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(told["imported"], 1);
    assert_eq!(told["not_imported"][0]["line"], 1);
    let mut client = gateway.client();
    for name in ["one", "two"] {
        assert_eq!(sign_in(&mut client, name, "password").status, 200);
    }
    let absent = house
        .command(&["user", "import", "/nowhere.jsonl"])
        .unwrap();
    assert_eq!(absent.status.code(), Some(1));
    gateway.stop().unwrap();
}

#[test]
fn a_list_of_breached_passwords_is_looked_into_before_the_start() {
    let house = stage::build(|places| {
        let breached = "password: { breached: { file: breached.txt } }";
        configuration(&stage::server(places, ""), breached)
    });
    let list = house.path("breached.txt");
    let told = || {
        let checked = house.command(&["check"]).unwrap();
        (checked.status.code(), said(&checked))
    };
    let (code, absent) = told();
    assert_eq!(code, Some(1), "{absent}");
    assert!(absent.contains("auth.password.breached.file: `breached.txt` cannot be read"));
    fs::write(&list, format!("{ZERO}:1\n{HORSE}:2\n{ZERO}:3\n")).unwrap();
    let (code, unordered) = told();
    assert_eq!(code, Some(1), "{unordered}");
    assert!(unordered.contains("is not ordered by hash"), "{unordered}");
    fs::write(&list, format!("{ZERO}:1\r\n{HORSE}:2\r\n")).unwrap();
    assert_eq!(told().0, Some(0));
    let add = |password: &str| {
        let added = house.command_with_input(&["user", "add", "alice"], password);
        said(&added.unwrap())
    };
    let refused = add("a horse of no particular colour");
    assert!(refused.contains("breached"), "{refused}");
    assert!(add("a cow of no particular colour").starts_with("added"));
}
