//! Every item of the checklists is tested under its number, or told as a deviation with its reason.
//!
//! A test says in a comment which items it holds (`// item 42`, `/// Contract items 100 and 101.`,
//! `// H-37`); a deviation is a row of a table whose first column has the numbers. Both are counted here,
//! so that no item is ever merely forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_tests::TestResult;

/// One checklist: what its items are called, how many there are, and where its deviations are told.
struct Checklist {
    mark: Mark,
    items: u32,
    deviations: &'static str,
}

#[derive(Clone, Copy)]
enum Mark {
    /// `item 42`, `items 42, 43 and 45`, `contract items 42-45`.
    Contract,
    /// `H-07`.
    Letter(char),
}

fn check(list: &Checklist) -> TestResult {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut held = BTreeSet::new();
    for file in sources(&root)? {
        let text = fs::read_to_string(&file)?;
        for line in test_code(file.strip_prefix(&root)?, &text).lines().filter_map(comment) {
            numbers(line, list.mark, &mut held);
        }
    }
    let told = deviations(&fs::read_to_string(root.join(list.deviations))?, list.mark);
    let unheard: Vec<_> = (1..=list.items).filter(|n| !held.contains(n) && !told.contains(n)).collect();
    let name = |n: &u32| match list.mark {
        Mark::Contract => n.to_string(),
        Mark::Letter(letter) => format!("{letter}-{n:02}"),
    };
    let unheard: Vec<_> = unheard.iter().map(name).collect();
    assert!(
        unheard.is_empty(),
        "neither in a test nor among the deviations of {}: {}",
        list.deviations,
        unheard.join(", ")
    );
    let unknown: Vec<_> = held.union(&told).filter(|n| **n == 0 || **n > list.items).collect();
    assert!(unknown.is_empty(), "there are no such items: {unknown:?}");
    Ok(())
}

#[test]
fn every_item_of_the_contract_is_tested_or_told_as_a_deviation() -> TestResult {
    check(&Checklist { mark: Mark::Contract, items: 170, deviations: "host/README.md" })
}

#[test]
fn every_item_of_a_go_plugin_host_is_tested_or_told_as_a_deviation() -> TestResult {
    check(&Checklist { mark: Mark::Letter('H'), items: 75, deviations: "proto/goplugin/README.md" })
}

#[test]
fn every_item_of_a_go_plugin_plugin_is_tested_or_told_as_a_deviation() -> TestResult {
    check(&Checklist { mark: Mark::Letter('P'), items: 70, deviations: "proto/goplugin/README.md" })
}

/// Returns every Rust and Go file of ours, but for what is generated or built.
fn sources(root: &Path) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["host", "proto", "guests", "shim", "tests"].map(|f| root.join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            match path.extension().and_then(|e| e.to_str()) {
                _ if name == "target" || name.ends_with(".pb.go") => {}
                _ if path.is_dir() => folders.push(path),
                Some("rs" | "go") if name != "checklists.rs" => found.push(path),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Returns the part of a file that is tests. `file` begins at the root, whose own name says nothing.
fn test_code<'a>(file: &Path, text: &'a str) -> &'a str {
    let in_tests = file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "suite");
    if in_tests || file.ends_with("tests.rs") {
        return text;
    }
    // By convention the tests of a file are its end.
    text.find("#[cfg(test)]").and_then(|at| text.get(at..)).unwrap_or_default()
}

/// Returns what a line says in a comment.
fn comment(line: &str) -> Option<&str> {
    line.split_once("//").map(|(_, comment)| comment)
}

fn numbers(text: &str, mark: Mark, into: &mut BTreeSet<u32>) {
    match mark {
        Mark::Letter(letter) => {
            for (at, _) in text.match_indices(&format!("{letter}-")) {
                let starts_a_word = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
                let digits: String = text[at + 2..].chars().take_while(char::is_ascii_digit).collect();
                if starts_a_word && digits.len() == 2 {
                    into.extend(digits.parse::<u32>());
                }
            }
        }
        Mark::Contract => {
            for word in ["tem ", "tems "] {
                for (at, _) in text.match_indices(word).filter(|(at, _)| text[..*at].ends_with(['i', 'I'])) {
                    list(&text[at + word.len()..], into);
                }
            }
        }
    }
}

/// Reads `42`, `42, 43 and 45` or `42-45` from the start of a text.
fn list(mut text: &str, into: &mut BTreeSet<u32>) {
    loop {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Ok(first) = text[..digits].parse::<u32>() else { return };
        text = &text[digits..];
        let mut last = first;
        if let Some(rest) = text.strip_prefix('-') {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if let Ok(number) = rest[..digits].parse() {
                (last, text) = (number, &rest[digits..]);
            }
        }
        into.extend(first..=last);
        let Some(rest) = [", ", " and ", " to "].iter().find_map(|joint| text.strip_prefix(joint)) else {
            return;
        };
        text = rest.strip_prefix("and ").unwrap_or(rest);
    }
}

/// Returns the items in the first column of a document's tables.
fn deviations(document: &str, mark: Mark) -> BTreeSet<u32> {
    let mut told = BTreeSet::new();
    for row in document.lines().filter_map(|line| line.strip_prefix("| ")) {
        let Some((first, reason)) = row.split_once(" | ") else { continue };
        assert!(reason.len() > 5, "no reason is given for {first}");
        match mark {
            Mark::Contract => list(first, &mut told),
            Mark::Letter(_) => numbers(first, mark, &mut told),
        }
    }
    told
}

#[test]
fn lists_of_numbers_are_read_as_people_write_them() {
    let read = |text: &str, mark| {
        let mut found = BTreeSet::new();
        numbers(text, mark, &mut found);
        found.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(read(" item 42", Mark::Contract), [42]);
    assert_eq!(read("/ Contract items 1, 2 and 5-7, which", Mark::Contract), [1, 2, 5, 6, 7]);
    assert_eq!(read(" items 3, 4, and 9.", Mark::Contract), [3, 4, 9]);
    assert!(read(" an item of a list", Mark::Contract).is_empty());
    assert_eq!(read(" H-07, H-8 and OH-09 (H-10)", Mark::Letter('H')), [7, 10]);
}
