//! Names as operators choose and mistype them.

const LONGEST_SHOWN: usize = 60;

/// Whether metrics, header values and audit rows can carry this name as it is.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err("is not a name: use 1 to 64 letters, digits, `_`, `-` and `.`".to_owned());
    }
    Ok(())
}

/// The one of `known` that was probably meant.
pub(crate) fn nearest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if written.len() > LONGEST_SHOWN {
        return None;
    }
    let allowed = if written.len() > 4 { 2 } else { 1 };
    known
        .map(|candidate| (distance(written, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "there is no upstream `hotl`: did you mean `hotel`?", where `shown` is how the name may be shown.
pub(crate) fn unknown(
    what: &str,
    shown: &str,
    written: &str,
    known: &[&str],
    remedy: &str,
) -> String {
    match nearest(written, known.iter().copied()) {
        Some(nearest) => format!("there is no {what} {shown}: did you mean `{nearest}`?"),
        None => format!("there is no {what} {shown}: {remedy}"),
    }
}

/// `a, b or c`
pub(crate) fn alternatives<'k>(words: impl Iterator<Item = &'k str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", shorten(text))
}

/// Fit for one line of a terminal, whatever the file holds.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().flat_map(printable).collect()
}

pub(crate) fn shorten(text: &str) -> String {
    let mut characters = text.chars();
    let mut shown: String = characters
        .by_ref()
        .take(LONGEST_SHOWN)
        .flat_map(printable)
        .collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

fn printable(character: char) -> Vec<char> {
    if character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, left) in left.chars().enumerate() {
        let mut next = vec![index + 1];
        let mut beside = index + 1;
        for (right, above) in right.iter().zip(row.windows(2)) {
            let [diagonal, above] = above else { break };
            beside = (diagonal + usize::from(left != *right))
                .min(above + 1)
                .min(beside + 1);
            next.push(beside);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
