//! The generated page `docs/rpcs.md`: made of the table, compared by a test, rewritten with `KEROLOX_BLESS=1`.
#![allow(clippy::disallowed_methods)] // The page is a file of the repository.

use super::{BodyMax, RpcInfo, table};
use crate::header::FieldInfo;
use std::{fmt::Write, path::Path};

fn page() -> String {
    let mut rows: Vec<&RpcInfo> = table().collect();
    rows.sort_by_key(|row| row.code);
    let mut page = String::from(
        "# Requests\n\n\
         Generated from the table in `crates/protocol/src/rpc`; `KEROLOX_BLESS=1 cargo test -p kerolox-protocol page` \
         rewrites it.\n\n\
         A row says who answers a code and what the caller must be allowed to do. A code that nobody serves is \
         answered \"not supported\" (3). A field's kind ends with `?` if it may be absent.\n\n\
         A body may have 64 KiB unless its column says more: `List` 4 MiB, `Message` as much as `maxMessageSize` \
         says, `Frame` as much as a frame holds. The length that a request announces is held against that before \
         its body is read.\n\n\
         | Code | Name | Served by | Needs | Body | |\n|---:|---|---|---|---|---|\n",
    );
    for row in &rows {
        let RpcInfo { code, name, server, need, doc, body_max, .. } = row;
        let body = if *body_max == BodyMax::Small { String::new() } else { format!("{body_max:?}") };
        let linked =
            if has_fields(row) { format!("[{name}](#{})", name.to_lowercase()) } else { (*name).into() };
        let _ = writeln!(page, "| {code} | {linked} | {server:?} | {need:?} | {body} | {doc} |");
    }
    page.push_str("\n## Fields\n");
    for row in rows.iter().filter(|row| has_fields(row)) {
        let _ = writeln!(page, "\n### {}\n\n{} {}\n", row.name, row.code, row.doc);
        page.push_str("| In | Field | Kind | |\n|---|---|---|---|\n");
        fields(&mut page, "request", row.request);
        fields(&mut page, "answer", row.reply);
    }
    page
}

fn has_fields(row: &RpcInfo) -> bool {
    !row.request.is_empty() || !row.reply.is_empty()
}

fn fields(page: &mut String, side: &str, fields: &[FieldInfo]) {
    for FieldInfo { wire, kind, doc } in fields {
        let _ = writeln!(page, "| {side} | `{wire}` | {kind} | {doc} |");
    }
}

#[test]
fn the_page_of_requests_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpcs.md");
    let expected = page();
    if std::env::var("KEROLOX_BLESS").is_ok() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/rpcs.md is stale; KEROLOX_BLESS=1 rewrites it");
}
