//! A stored report with its facts, recomputed and compared.

use std::io::Write;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::instant::{self, Millis};
use onrecord_evidence::fact::json::read_facts;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::report::difference::{ReportChange, difference};
use onrecord_evidence::report::evidence_report::{Evidence, RULES};
use onrecord_evidence::report::proof::SessionProofs;

/// A stored report with everything that it was computed from.
#[derive(Deserialize)]
pub(in crate::cli) struct ExportedReport {
    pub(super) call: String,
    pub(super) tenant: String,
    pub(super) rules: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
    pub(super) facts: Value,
    pub(super) now: Millis,
    pub report: Value,
    /// The proof of each session with reports. `None`: an export of an older version.
    #[serde(default)]
    pub(super) proofs: Option<SessionProofs>,
}

impl ExportedReport {
    /// Parses a response of `GET /v1/calls/{call}/facts`.
    ///
    /// # Errors
    ///
    /// The text is not such a response, or has another version of the rules.
    pub(in crate::cli) fn read(text: &str) -> anyhow::Result<Self> {
        let exported: Self = serde_json::from_str(text)
            .context("not what GET /v1/calls/{call}/facts answers; export it once more")?;
        anyhow::ensure!(
            exported.rules == RULES,
            "the report was made by version {:?} of the rules, and this program knows version {RULES:?}; \
             take the program that made it",
            exported.rules
        );
        Ok(exported)
    }

    /// The differences of the stored report and proofs from recomputed ones.
    fn differences_from(&self, recomputed: &Evidence<'_>) -> anyhow::Result<Vec<ReportChange>> {
        let mut changes = difference(&self.report, &serde_json::to_value(&recomputed.report)?);
        if let Some(stored) = &self.proofs {
            let stored = json!({ "proofs": stored });
            changes.extend(difference(&stored, &json!({ "proofs": recomputed.proofs() })));
        }
        Ok(changes)
    }

    /// The ids of the facts.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        let facts = self.facts.as_array().into_iter().flatten();
        facts.map(|fact| fact["id"].as_str().unwrap_or_default())
    }

    /// The differences between the stored report and the one that its facts give, and those of its
    /// proofs.
    ///
    /// # Errors
    ///
    /// The facts cannot be read, or give no report.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn differences(&self) -> anyhow::Result<Vec<ReportChange>> {
        let facts = read_facts(self.facts.clone())?;
        self.differences_from(&Evidence::at(&facts, self.now, &self.parameters)?)
    }

    /// The ids of the facts.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn fact_ids(&self) -> std::collections::BTreeSet<String> {
        self.ids().map(str::to_owned).collect()
    }

    /// The verdict of the stored report.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn verdict(&self) -> String {
        self.report["verdict"].as_str().unwrap_or_default().to_owned()
    }
}

/// Writes whether the stored report equals the one that its facts give, and all differences; of an
/// equal one, each obligation with its proof.
pub(super) fn compare(exported: &ExportedReport, out: &mut impl Write) -> anyhow::Result<bool> {
    let facts = read_facts(exported.facts.clone())?;
    let recomputed = Evidence::at(&facts, exported.now, &exported.parameters)?;
    let changes = exported.differences_from(&recomputed)?;
    writeln!(
        out,
        "call {} of tenant {} as of {}, {} facts, rules {RULES}",
        exported.call,
        exported.tenant,
        instant::text(exported.now).unwrap_or_else(|| exported.now.to_string()),
        facts.len()
    )?;
    if changes.is_empty() {
        writeln!(
            out,
            "equal: the facts give the stored report, {}, consent {}",
            recomputed.report.verdict.as_str(),
            recomputed.report.consent.as_str()
        )?;
        write_obligations(&recomputed, out)?;
        return Ok(true);
    }
    writeln!(
        out,
        "different: the stored report and the one that its facts give differ in {} places",
        changes.len()
    )?;
    for change in &changes {
        writeln!(out, "  {change}")?;
    }
    explain(&recomputed, &changes, out)?;
    Ok(false)
}

/// Writes each obligation with its proof.
fn write_obligations(recomputed: &Evidence<'_>, out: &mut impl Write) -> anyhow::Result<()> {
    let proofs = recomputed.proofs();
    for obligation in &recomputed.report.obligations {
        let due_at = instant::text(obligation.due_at);
        writeln!(
            out,
            "  {} due at {} for {}: {}, proof {}",
            obligation.capture_type.as_str(),
            due_at.unwrap_or_else(|| obligation.due_at.to_string()),
            obligation.session,
            obligation.status.as_str(),
            proofs.of(&obligation.session).map_or("none", <&str>::from)
        )?;
    }
    Ok(())
}

/// Writes, for each obligation that differs, the reason for its recomputed status.
fn explain(
    recomputed: &Evidence<'_>,
    changes: &[ReportChange],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    for obligation in &recomputed.report.obligations {
        if changes.iter().any(|change| change.is_about(obligation))
            && let Some(explanation) = recomputed.explanation(obligation)
        {
            writeln!(
                out,
                "why {} is as it is with the {} due at {}:",
                obligation.session,
                obligation.capture_type.as_str(),
                obligation.due_at
            )?;
            writeln!(out, "  {} {}", explanation.rule, explanation.would_change)?;
            writeln!(out, "  facts: {}", explanation.facts.join(", "))?;
        }
    }
    Ok(())
}
