//! The numbers, types and paths of the wire, against a list that was not made from `plugin.proto`.
//!
//! Every other test speaks in messages that were generated from that one file, the Go peers included: what had moved
//! in it would have moved for both sides.

use std::collections::BTreeSet;
use std::error::Error;

/// One owner to a line, with everything it has; a line that begins with two spaces goes on. A `*` says that there are
/// any number of it.
const WIRE: &str = include_str!("wire.txt");

/// Contract items 15, 16, 18 and 19.
#[test]
fn every_field_and_every_path_is_where_upstream_has_it() -> Result<(), Box<dyn Error>> {
    let files = protox::compile(["plugin.proto"], ["."])?;
    let [file] = &files.file[..] else { panic!("it imports nothing") };
    assert_eq!(file.package(), "plugin");

    let mut found = BTreeSet::new();
    let of_type = |name: &str, scalar: &str| match name.rsplit('.').next() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => scalar.trim_start_matches("TYPE_").to_lowercase(),
    };
    for message in &file.message_type {
        let owner = message.name();
        let mut items = Vec::new();
        for field in &message.field {
            let kind = of_type(field.type_name(), field.r#type().as_str_name());
            let entry = message.nested_type.iter().find(|nested| nested.name() == kind);
            let kind = match entry.map(|entry| &entry.field[..]) {
                Some([key, value]) => {
                    let [key, value] = [key, value].map(|f| of_type(f.type_name(), f.r#type().as_str_name()));
                    format!("map<{key} {value}>")
                }
                _ if field.label().as_str_name() == "LABEL_REPEATED" => format!("{kind}*"),
                _ => kind,
            };
            items.push(format!("{} {} {kind}", field.name(), field.number()));
        }
        items.extend(message.reserved_range.iter().map(|range| format!("reserved {}", range.start())));
        items.extend(message.reserved_name.iter().map(|name| format!("reserved {name}")));
        if items.is_empty() {
            items.push(String::new());
        }
        found.extend(items.into_iter().map(|item| format!("{owner}: {item}")));
        for values in &message.enum_type {
            let item = |name: &str, number: i32| format!("{owner}.{}: {name} {number}", values.name());
            found.extend(values.value.iter().map(|value| item(value.name(), value.number())));
        }
    }
    for service in &file.service {
        let stream = |streams: bool| if streams { "stream " } else { "" };
        for method in &service.method {
            let [asked, answered] = [method.input_type(), method.output_type()].map(|name| of_type(name, ""));
            let (from, to) = (stream(method.client_streaming()), stream(method.server_streaming()));
            found.insert(format!("{}: {}({from}{asked}) {to}{answered}", service.name(), method.name()));
        }
    }

    let lines = WIRE.replace("\n  ", " ");
    let mut expected = BTreeSet::new();
    for (owner, items) in lines.lines().filter_map(|line| line.split_once(':')) {
        expected.extend(items.trim().split(", ").map(|item| format!("{owner}: {item}")));
    }
    let moved: Vec<_> = expected.symmetric_difference(&found).collect();
    assert!(moved.is_empty(), "{moved:#?}");
    Ok(())
}
