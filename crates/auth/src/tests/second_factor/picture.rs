//! The picture says what the address says: it is read back by a decoder of somebody else's making.

use std::io::Cursor;

use base64::{Engine, engine::general_purpose::STANDARD};
use rqrr::PreparedImage;
use serde_json::json;

use super::{PASSWORD, house};
use crate::tests::House;

/// The address that the picture is for, and the picture.
async fn picture(house: &House, format: &str, media_type: &str) -> (String, Vec<u8>) {
    let token = house.token("saad", PASSWORD, "hotel").await;
    let body = json!({ "password": PASSWORD, "format": format });
    let begun = house
        .post("/v1/auth/mfa/totp", Some(&token), body)
        .await
        .json();
    let address = begun["qr_code"].as_str().unwrap();
    let encoded = address
        .strip_prefix(&format!("data:{media_type};base64,"))
        .unwrap();
    let uri = begun["otpauth_uri"].as_str().unwrap().to_owned();
    (uri, STANDARD.decode(encoded).unwrap())
}

/// Reads a picture of black where `is_dark`.
fn read(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
    let mut image =
        PreparedImage::prepare_from_greyscale(
            side,
            side,
            |x, y| {
                if is_dark(x, y) { 0 } else { 255 }
            },
        );
    let codes = image.detect_grids();
    assert_eq!(codes.len(), 1, "one code");
    codes[0].decode().unwrap().1
}

#[tokio::test]
async fn the_png_is_read_back_as_the_address() {
    let house = house().await;
    let (uri, png) = picture(&house, "png", "image/png").await;
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(frame.width, frame.height);
    let is_dark =
        |x: usize, y: usize| pixels[y * frame.line_size + x / 8] & (0x80_u8 >> (x % 8)) == 0;
    assert_eq!(read(frame.width as usize, is_dark), uri);
}

#[tokio::test]
async fn the_svg_is_read_back_as_the_address() {
    let house = house().await;
    let (uri, svg) = picture(&house, "svg", "image/svg+xml").await;
    let svg = String::from_utf8(svg).unwrap();
    let (_, rest) = svg.split_once(r#"width=""#).unwrap();
    let side: usize = rest.split('"').next().unwrap().parse().unwrap();
    let (_, path) = svg.split_once(r#" d=""#).unwrap();
    let mut dark = vec![false; side * side];
    for part in path.split('M').skip(1) {
        // `x yh width v height …`: a rectangle.
        let numbers = part
            .split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty());
        let numbers: Vec<usize> = numbers.map(|n| n.parse().unwrap()).collect();
        let [x, y, width, height, ..] = numbers[..] else {
            panic!("{part}")
        };
        for row in y..y + height {
            dark[row * side + x..row * side + x + width].fill(true);
        }
    }
    assert_eq!(read(side, |x, y| dark[y * side + x]), uri);
}

#[tokio::test]
async fn a_page_that_says_nothing_gets_an_svg_and_another_format_is_refused() {
    let house = house().await;
    let token = house.token("saad", PASSWORD, "hotel").await;
    let ask = async |body| house.post("/v1/auth/mfa/totp", Some(&token), body).await;
    let silent = ask(json!({ "password": PASSWORD })).await.json();
    assert!(
        silent["qr_code"]
            .as_str()
            .unwrap()
            .starts_with("data:image/svg+xml;")
    );
    for format in ["gif", "PNG", ""] {
        let refused = ask(json!({ "password": PASSWORD, "format": format })).await;
        assert_eq!(refused.problem(), "malformed-request", "{format}");
    }
}
