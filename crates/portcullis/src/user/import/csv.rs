//! Users as comma-separated values (RFC 4180): a header line that names the columns, quotes around what holds a comma, a
//! quote or a line break.

use std::io::{self, BufRead};

use super::records::{ImportedUser, LONGEST_RECORD, Lines, Record};

const COLUMNS: &str =
    "username, email, email_verified, display_name, password_hash, roles, tenant, disabled";

pub(super) fn users<R: BufRead + Send>(reader: R) -> impl Iterator<Item = Record> + Send {
    Rows {
        lines: Lines::of(reader),
        header: None,
    }
}

struct Rows<R> {
    lines: Lines<R>,
    header: Option<Vec<String>>,
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let (number, fields) = match self.row()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error)),
            };
            let fields = match fields {
                Ok(fields) => fields,
                Err(mistake) => return Some(Ok((number, Err(mistake)))),
            };
            match &self.header {
                Some(header) => return Some(Ok((number, user(header, &fields)))),
                None => self.header = Some(fields),
            }
        }
    }
}

type Fields = Result<Vec<String>, String>;

impl<R: BufRead> Rows<R> {
    /// The next row, which may be several lines. Blank lines between rows are nothing.
    fn row(&mut self) -> Option<io::Result<(usize, Fields)>> {
        let (number, mut text) = loop {
            match self.lines.next()? {
                Ok((_, text)) if text.is_empty() => {}
                Ok(line) => break line,
                Err(error) => return Some(Err(error)),
            }
        };
        while is_open(&text) && text.len() < LONGEST_RECORD {
            match self.lines.next() {
                Some(Ok((_, more))) => {
                    text.push('\n');
                    text.push_str(&more);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        Some(Ok((number, fields(&text))))
    }
}

/// Whether a quote is still to be closed: inside of one, a quote stands twice.
fn is_open(text: &str) -> bool {
    !text
        .bytes()
        .filter(|byte| *byte == b'"')
        .count()
        .is_multiple_of(2)
}

fn fields(text: &str) -> Fields {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return Err("a quote stands in a field that has none around it".to_owned());
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err("a comma is missing after a quote".to_owned()),
        }
    }
}

/// What stands before the quote that ends a field, and what comes after it.
fn unquoted(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, after)),
        }
    }
    Err("a quote has no end".to_owned())
}

fn user(header: &[String], fields: &[String]) -> Result<ImportedUser, String> {
    if header.len() != fields.len() {
        let (wanted, found) = (header.len(), fields.len());
        return Err(format!("{found} fields instead of {wanted}"));
    }
    let mut user = ImportedUser::default();
    for (column, field) in header.iter().zip(fields) {
        set(&mut user, column, field)?;
    }
    Ok(user)
}

/// An empty field says nothing.
fn set(user: &mut ImportedUser, column: &str, field: &str) -> Result<(), String> {
    let text = Some(field.to_owned()).filter(|field| !field.is_empty());
    match column.trim() {
        "username" => user.username = text,
        "email" => user.email = text,
        "display_name" => user.display_name = text,
        "password_hash" => user.password_hash = text,
        "tenant" => user.tenant = text,
        "roles" => {
            let roles = |text: String| text.split_whitespace().map(str::to_owned).collect();
            user.roles = text.map(roles);
        }
        "email_verified" => user.email_verified = flag(column, field)?,
        "disabled" => user.disabled = flag(column, field)?,
        _ => {
            return Err(format!(
                "there is no column {column:?}: there are {COLUMNS}"
            ));
        }
    }
    Ok(())
}

fn flag(column: &str, field: &str) -> Result<bool, String> {
    match field {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err(format!("{column} is true or false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(usize, Result<ImportedUser, String>)> {
        users(text.as_bytes()).map(Result::unwrap).collect()
    }

    #[test]
    fn quotes_hold_commas_quotes_and_line_breaks() {
        let text = "username,display_name,roles,disabled\r\n\
                    saad,\"Saad, \"\"the\"\"\r\nguest\",guest staff,true\r\n\
                    \r\n\
                    eve,,,\r\n";
        let read = read(text);
        let [(2, Ok(saad)), (5, Ok(eve))] = &read[..] else {
            panic!(
                "{:?}",
                read.iter().map(|(line, _)| line).collect::<Vec<_>>()
            )
        };
        assert_eq!(saad.display_name.as_deref(), Some("Saad, \"the\"\nguest"));
        assert_eq!(saad.roles.as_deref().unwrap(), ["guest", "staff"]);
        assert!(saad.disabled && !eve.disabled);
        assert_eq!((&eve.display_name, &eve.roles), (&None, &None));
    }

    #[test]
    fn what_is_no_row_is_told_with_its_line() {
        for (row, told) in [
            ("a", "1 fields instead of 2"),
            ("a,b,c", "3 fields instead of 2"),
            ("a,\"b\"c", "a comma is missing"),
            ("a,b\"c\"", "a quote stands in a field"),
            ("a,\"b", "a quote has no end"),
        ] {
            let read = read(&format!("username,email\n{row}"));
            let [(2, Err(text))] = &read[..] else {
                panic!("{row}")
            };
            assert!(text.starts_with(told), "{row}: {text}");
        }
        let column = read("username,pasword\na,b");
        assert!(matches!(&column[..], [(2, Err(text))] if text.contains("no column")));
        let flag = read("username,disabled\na,yes");
        assert!(matches!(&flag[..], [(2, Err(text))] if text == "disabled is true or false"));
    }
}
