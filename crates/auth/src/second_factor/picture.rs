//! The QR code that a phone takes a picture of, as SVG or PNG, in the form of a `data:` address: a page shows it as the
//! source of an image, and nothing that holds the secret has to be fetched or kept.

use base64::{Engine, engine::general_purpose::STANDARD};
use qrcode::{Color, EcLevel, QrCode, render::svg};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::answer::Refusal;

/// The white around it (ISO/IEC 18004 section 9.1), in modules.
const QUIET_ZONE: usize = 4;
/// Pixels of a module. With eight a module's part of a row is one byte of a PNG with one bit a pixel.
const SCALE: u32 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Svg,
    Png,
}

/// `text` as a `data:` address of an image.
pub(crate) fn data_address(text: &str, format: Format) -> Result<String, Refusal> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|error| Refusal::internal(format!("QR code: {error}")))?;
    let (media_type, image) = match format {
        Format::Svg => ("image/svg+xml", svg(&code)),
        Format::Png => ("image/png", png(&code)?),
    };
    let image = Zeroizing::new(image);
    Ok(format!(
        "data:{media_type};base64,{}",
        STANDARD.encode(&*image)
    ))
}

fn svg(code: &QrCode) -> Vec<u8> {
    code.render::<svg::Color<'_>>()
        .module_dimensions(SCALE, SCALE)
        .quiet_zone(true)
        .build()
        .into_bytes()
}

fn png(code: &QrCode) -> Result<Vec<u8>, Refusal> {
    let failed = |error: png::EncodingError| Refusal::internal(format!("QR code: {error}"));
    let pixels = pixels(code);
    let modules = u32::try_from(code.width() + 2 * QUIET_ZONE).unwrap_or(u32::MAX);
    let side = modules.saturating_mul(SCALE);
    let mut image = Vec::new();
    let mut encoder = png::Encoder::new(&mut image, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(image)
}

/// Rows of bits: 1 is white.
fn pixels(code: &QrCode) -> Vec<u8> {
    const WHITE: u8 = 0xff;
    let side = code.width() + 2 * QUIET_ZONE;
    let white_rows = vec![WHITE; side * QUIET_ZONE * 8];
    let mut pixels = white_rows.clone();
    for row in code.to_colors().chunks(code.width()) {
        let mut bytes = vec![WHITE; QUIET_ZONE];
        bytes.extend(row.iter().map(|module| match module {
            Color::Light => WHITE,
            Color::Dark => 0,
        }));
        bytes.extend([WHITE; QUIET_ZONE]);
        (0..SCALE).for_each(|_| pixels.extend(&bytes));
    }
    pixels.extend(white_rows);
    pixels
}
