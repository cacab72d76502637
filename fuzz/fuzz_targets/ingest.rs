//! A body, posted as each kind of source: whatever it holds, something is kept of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onrecord::config::SourceKind;
use onrecord::domain::alias::Anchor;
use onrecord::domain::instant::parse_source_time;
use onrecord::intake::{Contents, Delivery, Door, Taken, take_apart};

fuzz_target!(|body: &[u8]| {
    for kind in [SourceKind::EventGrid, SourceKind::CallAutomation] {
        let door = Door {
            kind,
            source: "contoso-calls",
            resource_ids: &[],
        };
        let delivery = Delivery {
            content_type: Some("application/json"),
            headers: &[],
            body,
        };
        let Contents::Events(events) = take_apart(&door, &delivery) else {
            continue;
        };
        let text = String::from_utf8_lossy(body);
        let is_array = text.trim_start_matches('\u{feff}').trim().starts_with('[');
        assert!(!events.is_empty() || is_array, "nothing was kept of it");
        for taken in events {
            if let Taken::Event(event) = taken {
                // What is kept of it is read by the rules; its time and ids are anybody's text.
                let _ = event.ce_time.as_deref().map(parse_source_time);
                let _ = Anchor::candidates(&event.ce_id);
            }
        }
    }
});
