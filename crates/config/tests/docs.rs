//! The page of keys is what the declarations say. `KEROLOX_BLESS=1` rewrites it.

#![expect(clippy::disallowed_methods, reason = "the page is a file of the repository, not of a store")]

use std::path::Path;

#[test]
fn the_page_of_keys_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let page = kerolox_config::docs_page();
    if std::env::var_os("KEROLOX_BLESS").is_some() {
        std::fs::write(&path, &page).expect("write docs/config.md");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let stale = page.lines().zip(committed.lines()).find(|(new, old)| new != old);
    assert!(page == committed, "docs/config.md is stale, first at {stale:?}; KEROLOX_BLESS=1 rewrites it");
}
