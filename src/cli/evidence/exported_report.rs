//! A stored report with its facts, recomputed and compared.

use std::io::Write;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::instant::{self, Millis};
use onrecord_evidence::fact::json::read_facts;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::report::difference::{ReportChange, difference};
use onrecord_evidence::report::evidence_report::{Evidence, RULES};

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

    /// The differences between the stored report and the one that its facts give.
    ///
    /// # Errors
    ///
    /// The facts cannot be read, or give no report.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn differences(&self) -> anyhow::Result<Vec<ReportChange>> {
        let facts = read_facts(self.facts.clone())?;
        let recomputed = Evidence::at(&facts, self.now, &self.parameters)?.report;
        Ok(difference(&self.report, &serde_json::to_value(&recomputed)?))
    }

    /// The ids of the facts.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn fact_ids(&self) -> std::collections::BTreeSet<String> {
        let facts = self.facts.as_array().into_iter().flatten();
        facts.filter_map(|fact| fact["id"].as_str().map(str::to_owned)).collect()
    }

    /// The verdict of the stored report.
    #[cfg(feature = "demo")]
    pub(in crate::cli) fn verdict(&self) -> String {
        self.report["verdict"].as_str().unwrap_or_default().to_owned()
    }
}

/// Writes whether the stored report equals the one that its facts give, and all differences.
pub(super) fn compare(exported: ExportedReport, out: &mut impl Write) -> anyhow::Result<bool> {
    let facts = read_facts(exported.facts)?;
    let recomputed = Evidence::at(&facts, exported.now, &exported.parameters)?;
    let changes = difference(&exported.report, &serde_json::to_value(&recomputed.report)?);
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
