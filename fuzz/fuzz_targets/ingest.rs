//! Parses a body as a delivery of each kind of source: no input may panic, and no element may be
//! lost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onrecord::config::SourceKind;
use onrecord::ingest::{
    DecodedBody, DeliveryContents, DeliverySource, ParsedElement, RawDelivery, parse_delivery,
};
use onrecord_evidence::event::instant::parse_source_time;
use onrecord_evidence::identity::alias_graph::Anchor;

fuzz_target!(|body: &[u8]| {
    for kind in [SourceKind::EventGrid, SourceKind::CallAutomation] {
        let source =
            DeliverySource { kind, name: "contoso-calls", resource_ids: &[], seal_to: None };
        let delivery = RawDelivery {
            content_type: Some("application/json"),
            headers: &[],
            body: DecodedBody::uncoded(body),
        };
        let DeliveryContents::Events(elements) = parse_delivery(&source, &delivery) else {
            continue;
        };
        let text = String::from_utf8_lossy(body);
        let is_array = text.contains('[');
        assert!(!elements.is_empty() || is_array, "an element is lost");
        for element in elements {
            if let ParsedElement::Event(event) = element {
                // The rules parse the time and the ids, which are arbitrary text.
                let _ = event.ce_time.as_deref().map(parse_source_time);
                let _ = Anchor::candidates(&event.ce_id);
            }
        }
    }
});
