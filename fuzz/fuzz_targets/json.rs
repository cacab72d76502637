//! Indexes and redacts a text: no input may panic, redacted JSON is JSON without sensitive
//! members, and the canonical form is stable.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onrecord_json::{JsonIndex, RedactionScope, canonical_text, redact};

fuzz_target!(|text: &str| {
    let Ok(index) = JsonIndex::parse(text) else {
        return;
    };
    let canonical = canonical_text(index.root());
    let again = JsonIndex::parse(&canonical).expect("the canonical form is JSON");
    assert_eq!(canonical_text(again.root()), canonical);
    let Ok(redacted) = redact(&index, RedactionScope::Unknown) else {
        return;
    };
    let kept = JsonIndex::parse(&redacted.text).expect("redacted JSON is JSON");
    if let Ok(twice) = redact(&kept, RedactionScope::Unknown) {
        assert_eq!(twice.text, redacted.text);
    }
});
