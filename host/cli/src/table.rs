//! Tables of plain text: columns two spaces apart, headings in capitals, no lines.
//!
//! What stands in a cell comes from plugins, so nothing in it reaches a terminal as more than text.

use std::borrow::Cow;
use std::iter;

use portcullis_contract::visible;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::json::{Document, Id, Node};

/// Wider cells are cut, but for those of a last column: a guess at what still lines up on a screen.
const WIDEST: usize = 60;

/// What is shown as a line under headings.
pub(crate) trait Row: Serialize {
    const HEADINGS: &'static [&'static str];

    fn cells(&self) -> Vec<String>;
}

/// Returns a text for a cell that is not left empty.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Sets rows under headings.
pub(crate) fn set(headings: &[&str], rows: &[Vec<String>]) -> String {
    lay(headings, || rows.iter().cloned())
}

/// Does the same with rows that are made twice, to measure and to write them: a plugin's may be too many to hold in
/// memory.
fn lay<R: Iterator<Item = Vec<String>>>(headings: &[&str], rows: impl Fn() -> R) -> String {
    let last = headings.len().saturating_sub(1);
    let lines = || {
        let headings: Vec<_> = headings.iter().map(ToString::to_string).collect();
        iter::once(headings).chain(rows()).map(move |row| line(&row, last))
    };
    let mut widths = vec![0; last];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(&line) {
            *width = cell.width().max(*width);
        }
    }
    let mut out = String::new();
    for line in lines() {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            row.push_str(cell);
            if let Some(width) = widths.get(column) {
                row.extend(iter::repeat_n(' ', width + 2 - cell.width()));
            }
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

/// Returns what is shown of each cell. Those before the last column are cut.
fn line(row: &[String], last: usize) -> Vec<String> {
    let mut cells: Vec<_> = row.iter().map(|cell| one_line(cell)).collect();
    for cell in cells.iter_mut().take(last) {
        if cell.width() > WIDEST {
            let mut used = 0;
            let fits = cell.chars().take_while(|c| {
                used += c.width().unwrap_or_default();
                used <= WIDEST - 3
            });
            *cell = fits.chain("...".chars()).collect();
        }
    }
    cells
}

/// Shows JSON as a table: an object key by key, and with it the objects in it; anything else as it is.
pub(crate) fn from_json(document: &Document<'_>) -> String {
    let keys = match document.node(0) {
        Node::Object(keys) if !keys.is_empty() => keys,
        _ => return cell(document, 0) + "\n",
    };
    lay(&["KEY", "VALUE"], || {
        keys.iter().flat_map(move |key| {
            let (outer, value) = document.field(*key);
            // One level more: what a provider returns stands in `data`.
            let inner = match document.node(value) {
                Node::Object(inner) => inner,
                _ => Vec::new(),
            };
            let alone = inner.is_empty().then(|| vec![outer.text().into_owned(), cell(document, value)]);
            alone.into_iter().chain(inner.into_iter().map(move |key| {
                let (name, value) = document.field(key);
                vec![format!("{}.{}", outer.text(), name.text()), cell(document, value)]
            }))
        })
    })
}

fn cell(document: &Document<'_>, id: Id) -> String {
    match document.node(id) {
        Node::Text(raw) => raw.text().into_owned(),
        _ => {
            let mut text = String::new();
            document.write_compact(id, &mut text);
            text
        }
    }
}

/// Returns a text on one line.
fn one_line(text: &str) -> String {
    let text: Cow<'_, str> = if text.contains(['\n', '\t']) {
        text.replace('\n', "\\n").replace('\t', " ").into()
    } else {
        text.into()
    };
    visible(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: &str) {
        assert_eq!(from_json(&Document::parse(json).unwrap()), expected, "{json}");
    }

    #[test]
    fn an_object_is_shown_key_by_key() {
        check(r#"{"data":{"b":"x","a":[1,{"c":null}]},"warnings":["w"]}"#, {
            "KEY       VALUE\ndata.a    [1,{\"c\": null}]\ndata.b    x\nwarnings  [\"w\"]\n"
        });
        check(r#"{"data":"two\nlines\u001b[2J"}"#, "KEY   VALUE\ndata  two\\nlines\\u{1b}[2J\n");
        check("{}", "{}\n");
        check("\"x\"", "x\n");
    }

    #[test]
    fn columns_line_up_and_long_cells_are_cut() {
        let long = "x".repeat(80);
        let rows = [vec![long.clone(), "1".to_owned()], vec!["y".to_owned(), long.clone()]];
        let cut = format!("{}...", "x".repeat(57));
        let expected = format!("A{}  B\n{cut}  1\ny{}  {long}\n", " ".repeat(59), " ".repeat(59));
        assert_eq!(set(&["A", "B"], &rows), expected);
    }

    #[test]
    fn a_character_may_take_two_columns() {
        let rows = |name: &str| [vec![name.to_owned(), "1".to_owned()], vec!["y".to_owned(), "2".to_owned()]];
        assert_eq!(set(&["A", "B"], &rows("\u{65e5}\u{672c}")), "A     B\n\u{65e5}\u{672c}  1\ny     2\n");
        let cut = set(&["A", "B"], &rows(&"\u{65e5}".repeat(31)));
        assert!(cut.contains(&format!("\n{}...  1\n", "\u{65e5}".repeat(28))), "{cut}");
    }
}
