//! What ingest does with one event, on the samples of `tests/data/azure`: time and bytes by `divan`, and the
//! number of instructions by callgrind, which does not drift.
//!
//! ```sh
//! cargo bench --bench parse
//! cargo bench --bench parse -- --instructions     # needs valgrind
//! ```

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use onrecord::config::SourceKind;
use onrecord::ingest::{
    DecodedBody, DeliveryContents, DeliverySource, RawDelivery, parse_delivery,
};
use onrecord_json::{JsonIndex, RedactionScope, TextPolicy, canonical_text, redact};

/// Runs every pass so often instead of measuring it.
const ONCE_ARGUMENT: &str = "--once";
const INSTRUCTIONS_ARGUMENT: &str = "--instructions";
/// Rounds by which two counts of instructions differ: the start of the program is in both.
const ROUNDS: u64 = 10;
type Pass = (&'static str, fn(&Samples));
const PASSES: [Pass; 4] = [
    ("index", Samples::index),
    ("redact", Samples::redact),
    ("canonical", Samples::canonical),
    ("parse_delivery", Samples::parse_deliveries),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some(ONCE_ARGUMENT) => run_rounds(arguments.get(2..).unwrap_or_default()),
        Some(INSTRUCTIONS_ARGUMENT) => count_instructions(),
        _ => {
            divan::main();
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The text of its index: of each value its range and kind.
#[divan::bench]
fn index(bencher: Bencher<'_, '_>) {
    bench(bencher, Samples::index);
}

/// The redaction of an indexed event.
#[divan::bench(name = "redact")]
fn redacted(bencher: Bencher<'_, '_>) {
    bench(bencher, Samples::redact);
}

/// The canonical form of an indexed event.
#[divan::bench]
fn canonical(bencher: Bencher<'_, '_>) {
    bench(bencher, Samples::canonical);
}

/// Everything: index, redaction, digests, envelope, normalized statement.
#[divan::bench(name = "parse_delivery")]
fn deliveries(bencher: Bencher<'_, '_>) {
    bench(bencher, Samples::parse_deliveries);
}

#[expect(clippy::expect_used, reason = "without samples nothing can be measured")]
fn bench(bencher: Bencher<'_, '_>, pass: fn(&Samples)) {
    let samples = Samples::load().expect("the samples can be read");
    bencher
        .counter(ItemsCount::new(samples.events.len()))
        .counter(BytesCount::new(samples.bytes()))
        .bench_local(|| pass(black_box(&samples)));
}

/// The deliveries of the samples, and the events in them.
struct Samples {
    deliveries: Vec<(SourceKind, Vec<u8>)>,
    events: Vec<String>,
}

impl Samples {
    fn load() -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/azure");
        let mut files = Vec::new();
        for file in std::fs::read_dir(&folder).context("the samples are missing")? {
            files.push(file?.path());
        }
        files.sort();
        let (mut deliveries, mut events) = (Vec::new(), Vec::new());
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let body = std::fs::read(&file)?;
            // What is no JSON is one sample of how a body is refused, and no event.
            let Ok(text) = str::from_utf8(&body) else { continue };
            let Ok(index) = JsonIndex::parse(text) else { continue };
            let before = events.len();
            events.extend(index.root().elements().map(|event| event.raw().to_owned()));
            if events.len() == before {
                events.push(text.to_owned());
            }
            deliveries.push((kind_of(&name), body));
        }
        if events.len() < 50 {
            bail!("{} has {} events only", folder.display(), events.len());
        }
        Ok(Self { deliveries, events })
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(String::len).sum()
    }

    fn index(&self) {
        for event in &self.events {
            let _parsed = black_box(JsonIndex::parse(event));
        }
    }

    fn redact(&self) {
        let scope = RedactionScope::Calls { keeps: None, texts: TextPolicy::All };
        for index in self.events.iter().flat_map(|event| JsonIndex::parse(event)) {
            let _redacted = black_box(redact(&index, scope));
        }
    }

    fn canonical(&self) {
        for index in self.events.iter().flat_map(|event| JsonIndex::parse(event)) {
            black_box(canonical_text(index.root()));
        }
    }

    fn parse_deliveries(&self) {
        for (kind, body) in &self.deliveries {
            let source = DeliverySource {
                kind: *kind,
                name: "contoso-calls",
                resource_ids: &[],
                seal_to: None,
            };
            let delivery = RawDelivery {
                content_type: Some("application/json; charset=utf-8"),
                headers: &[],
                body: DecodedBody::uncoded(body),
            };
            match black_box(parse_delivery(&source, &delivery)) {
                DeliveryContents::Handshake(_) => {}
                DeliveryContents::Events(elements) => drop(elements),
            }
        }
    }
}

/// The kind of source that sends the sample.
fn kind_of(name: &str) -> SourceKind {
    let by_callback = name.starts_with("ca-") || name.starts_with("rec-");
    let is_incoming = name.ends_with("-00") || name.contains("incoming");
    if by_callback && !is_incoming { SourceKind::CallAutomation } else { SourceKind::EventGrid }
}

/// `--once PASS ROUNDS`
fn run_rounds(arguments: &[String]) -> anyhow::Result<()> {
    let [name, rounds] = arguments else { bail!("a pass and a number of rounds are missing") };
    let pass = PASSES.iter().find(|(known, _)| known == name);
    let (_, pass) = pass.with_context(|| format!("there is no pass {name}"))?;
    let samples = Samples::load()?;
    for _ in 0..rounds.parse()? {
        pass(black_box(&samples));
    }
    Ok(())
}

/// Prints the instructions of each pass per event. A pass but the first includes the index.
fn count_instructions() -> anyhow::Result<()> {
    let samples = Samples::load()?;
    let (events, bytes) = (samples.events.len() as u64, samples.bytes());
    println!("{events} events of {bytes} bytes");
    for (name, _) in PASSES {
        let (once, more) = (instructions(name, 1)?, instructions(name, 1 + ROUNDS)?);
        println!("{name:<16} {:>8} instructions per event", (more - once) / (ROUNDS * events));
    }
    Ok(())
}

fn instructions(pass: &str, rounds: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([ONCE_ARGUMENT, pass, &rounds.to_string()])
        .output()
        .context("valgrind cannot be started")?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.with_context(|| format!("valgrind counted nothing: {report}"))?;
    Ok(count.trim().parse()?)
}
