//! `PUT /v1/notice-texts/{version}` registers the texts of a notice, by locale. A registered
//! version never changes. `GET /v1/notice-texts` lists the versions; with a version it returns the
//! texts.
//!
//! The service computes the SHA-256 of each text. The hash that a client acknowledges is compared
//! with it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::http::api_role::ApiRole;
use crate::http::auth::ApiKeyCache;
use crate::http::body::JsonBody;
use crate::http::paging;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::micros;
use crate::postgres::{NoticeText, Postgres, TextRegistration};
use onrecord_evidence::event::ids::Digest;

/// Maximum length of a version or locale, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Maximum length of a text, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Maximum number of locales of a version.
const MAX_LOCALES: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextsBody {
    /// By locale.
    texts: BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(crate) struct TextVersion {
    version: String,
    texts: Vec<TextView>,
}

#[derive(Serialize)]
struct TextView {
    locale: String,
    sha256: Option<String>,
    text: String,
    registered_at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextListQuery {
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct VersionList {
    versions: Vec<VersionSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct VersionSummary {
    version: String,
    locales: Vec<String>,
    registered_at: String,
}

impl From<NoticeText> for TextView {
    fn from(text: NoticeText) -> Self {
        Self {
            locale: text.locale,
            sha256: Digest::from_bytes(&text.sha256).map(|digest| digest.to_string()),
            text: text.text,
            registered_at: micros(text.registered_at),
        }
    }
}

pub(crate) async fn register(
    State(keys): State<ApiKeyCache>,
    State(store): State<Postgres>,
    headers: HeaderMap,
    version: Result<Path<String>, PathRejection>,
    body: Result<JsonBody<TextsBody>, Problem>,
) -> Result<(StatusCode, Json<TextVersion>), Problem> {
    let caller = keys.authenticate(&headers).await?;
    caller.require_role(&[ApiRole::App])?;
    let version = valid_name("version", version.ok().map(|Path(version)| version))?;
    let JsonBody { value, .. } = body?;
    let texts: Vec<(String, String)> = value.texts.into_iter().collect();
    validate_texts(&texts)?;
    let registration = store
        .register_texts(&caller.tenant, &version, &texts, clock::now())
        .await?;
    let status = match registration {
        TextRegistration::New => StatusCode::CREATED,
        TextRegistration::Same => StatusCode::OK,
        TextRegistration::Other => {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "this version is registered with other texts or locales, and a registered version never changes; register these texts under a new version",
            ));
        }
    };
    let mut snapshot = store.read(&caller.tenant).await?;
    let texts = snapshot.notice_texts(&version).await?;
    Ok((status, Json(text_version(version, texts))))
}

pub(crate) async fn one(
    State(keys): State<ApiKeyCache>,
    State(store): State<Postgres>,
    headers: HeaderMap,
    version: Result<Path<String>, PathRejection>,
) -> Result<Json<TextVersion>, Problem> {
    let caller = keys.authenticate(&headers).await?;
    caller.require_role(&[ApiRole::App, ApiRole::Analyst, ApiRole::Auditor])?;
    let version = valid_name("version", version.ok().map(|Path(version)| version))?;
    let mut snapshot = store.read(&caller.tenant).await?;
    let texts = snapshot.notice_texts(&version).await?;
    if texts.is_empty() {
        return Err(Problem::not_found(
            "this tenant has no notice text of this version; GET /v1/notice-texts lists them",
        ));
    }
    Ok(Json(text_version(version, texts)))
}

pub(crate) async fn list(
    State(keys): State<ApiKeyCache>,
    State(store): State<Postgres>,
    headers: HeaderMap,
    query: Result<Query<TextListQuery>, QueryRejection>,
) -> Result<Json<VersionList>, Problem> {
    let caller = keys.authenticate(&headers).await?;
    caller.require_role(&[ApiRole::App, ApiRole::Analyst, ApiRole::Auditor])?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let after = paging::parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?;
    let mut snapshot = store.read(&caller.tenant).await?;
    let rows = snapshot.notice_versions(after, limit).await?;
    let is_full = rows.len() as i64 == limit;
    let next = rows
        .last()
        .filter(|_| is_full)
        .and_then(|(version, _, registered)| paging::format_cursor(&(registered, version)));
    let versions = rows
        .into_iter()
        .map(|(version, locales, registered)| VersionSummary {
            version,
            locales,
            registered_at: micros(registered),
        });
    Ok(Json(VersionList {
        versions: versions.collect(),
        next,
    }))
}

fn text_version(version: String, texts: Vec<NoticeText>) -> TextVersion {
    TextVersion {
        version,
        texts: texts.into_iter().map(TextView::from).collect(),
    }
}

fn valid_name(member: &str, name: Option<String>) -> Result<String, Problem> {
    name.filter(|name| {
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
    })
    .ok_or_else(|| {
        Problem::invalid(
            member,
            format!("1 to {MAX_NAME_BYTES} bytes without control characters"),
        )
    })
}

fn validate_texts(texts: &[(String, String)]) -> Result<(), Problem> {
    if !(1..=MAX_LOCALES).contains(&texts.len()) {
        return Err(Problem::invalid(
            "/texts",
            format!("the texts by locale, 1 to {MAX_LOCALES} of them: {{\"de-DE\":\"…\"}}"),
        ));
    }
    for (locale, text) in texts {
        let pointer = format!("/texts/{}", locale.replace('~', "~0").replace('/', "~1"));
        valid_name(&pointer, Some(locale.clone()))?;
        if !(1..=MAX_TEXT_BYTES).contains(&text.len()) || text.contains('\0') {
            return Err(Problem::invalid(
                pointer,
                format!("1 to {MAX_TEXT_BYTES} bytes without NUL"),
            ));
        }
    }
    Ok(())
}
