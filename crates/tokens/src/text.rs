//! What a string in a token may look like. It ends up in headers, logs and audit rows, where a line break or a hidden
//! change of direction would let one subject pass for another.

/// The longest subject, session, token id or other name that is accepted, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;

/// The longest single scope or role.
const MAX_WORD_BYTES: usize = 128;

/// Neither empty nor overlong, nothing invisible in it, and no space around it: HTTP strips that from a header value,
/// so that `alice ` would arrive as `alice`.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && text.trim() == text
        && !text.chars().any(is_deceptive)
}

/// A scope-token of RFC 6749 section 3.3: visible ASCII without quote and backslash.
pub(crate) fn is_scope(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= MAX_WORD_BYTES
        && word
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Roles travel in one header, separated by commas, so that a comma in a name would make two of it.
pub(crate) fn is_role(name: &str) -> bool {
    is_name(name)
        && name.len() <= MAX_WORD_BYTES
        && name
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic() && byte != b',')
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
