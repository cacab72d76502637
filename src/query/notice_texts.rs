//! `PUT /v1/notice-texts/{version}` registers the texts of a notice, by locale. A registered
//! version never changes. `GET /v1/notice-texts` lists the versions; with a version it returns the
//! texts.
//!
//! The service computes the SHA-256 of each text. The hash that a client acknowledges is compared
//! with it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::context::QueryContext;
use crate::clock;
use crate::http::api_role::ApiRole;
use crate::http::auth::{AppRole, Authorized};
use crate::http::body::{CallerBody, NoParameters, QueryParameters, RequestBody, secrets};
use crate::http::paging::{self, ListBinding, PageQuery};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::timestamp::micros;
use crate::openapi::problem_sets::{
    ApiKeyProblems, BodyProblems, ConflictProblems, IdProblems, LimitProblems,
};
use crate::postgres::{NoticeText, TextRegistration};

/// Maximum length of a version or locale, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Maximum length of a text, in bytes.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Maximum number of locales of a version.
const MAX_LOCALES: usize = 200;

/// The texts of a version of a notice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NoticeTextsRequest)]
pub(crate) struct TextsBody {
    /// The words of the notice by locale, 1 to 200 of them; each has 1 to 65536 bytes.
    texts: BTreeMap<String, String>,
}

impl RequestBody for TextsBody {
    const MAX_BYTES: usize = 2 * 1024 * 1024;
}

/// The registered texts of one version.
#[derive(Serialize, ToSchema)]
#[schema(as = NoticeTexts)]
pub(crate) struct TextVersion {
    /// The version, which never changes.
    version: String,
    /// The texts by locale.
    texts: Vec<NoticeText>,
}

/// Registered versions of notice texts.
#[derive(Serialize, ToSchema)]
#[schema(as = NoticeTextList)]
pub(crate) struct VersionList {
    /// The versions, newest first.
    versions: Vec<VersionSummary>,
    /// Pass it as `cursor`, with the same parameters, for the following rows. Absent: there are
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A registered version.
#[derive(Serialize, ToSchema)]
#[schema(as = NoticeTextVersion)]
struct VersionSummary {
    /// The version.
    version: String,
    /// The locales that have a text.
    locales: Vec<String>,
    /// When it was registered.
    #[schema(format = DateTime)]
    registered_at: String,
}

/// The roles that may read texts.
const READERS: [ApiRole; 3] = [ApiRole::App, ApiRole::Analyst, ApiRole::Auditor];

/// Registers the words of a notice.
///
/// A registered version never changes.
#[utoipa::path(
    put,
    path = "/v1/notice-texts/{version}",
    operation_id = "putNoticeTexts",
    tag = "clients",
    security(("api_key" = ["app", "admin"])),
    params(
        ("version" = String, Path, description = "The version: 1 to 128 bytes without control characters.", min_length = 1, max_length = 128),
    ),
    request_body(content = TextsBody, description = "The words by locale."),
    responses(
        (status = 201, description = "The version is registered.", body = TextVersion),
        (status = 200, description = "The version was registered with the same words before.", body = TextVersion),
        ApiKeyProblems,
        BodyProblems,
        ConflictProblems,
    ),
)]
pub(crate) async fn register(
    State(api): State<QueryContext>,
    version: Result<Path<String>, PathRejection>,
    request: CallerBody<Authorized<AppRole>, TextsBody>,
) -> Result<(StatusCode, Json<TextVersion>), Problem> {
    let CallerBody { caller: Authorized { caller, .. }, value, .. } = request;
    let version = valid_name("version", version.ok().map(|Path(version)| version))?;
    secrets::check_parameter("version", &version)?;
    let texts: Vec<(String, String)> = value.texts.into_iter().collect();
    validate_texts(&texts)?;
    let registration =
        api.store.register_texts(&caller.tenant, &version, &texts, clock::now()).await?;
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
    let mut snapshot = api.read(&caller).await?;
    let texts = snapshot.notice_texts(&version).await?;
    Ok((status, Json(TextVersion { version, texts })))
}

/// Reads the words of a version.
#[utoipa::path(
    get,
    path = "/v1/notice-texts/{version}",
    operation_id = "getNoticeTexts",
    tag = "clients",
    security(("api_key" = ["app", "analyst", "auditor", "admin"])),
    params(
        ("version" = String, Path, description = "The version: 1 to 128 bytes without control characters.", min_length = 1, max_length = 128),
    ),
    responses(
        (status = 200, description = "The version with its words and their SHA-256.", body = TextVersion),
        ApiKeyProblems,
        IdProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn one(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    version: Result<Path<String>, PathRejection>,
    parameters: Result<NoParameters, Problem>,
) -> Result<Json<TextVersion>, Problem> {
    let caller = api.keys.authorize(&headers, &READERS).await?;
    let NoParameters = parameters?;
    let version = valid_name("version", version.ok().map(|Path(version)| version))?;
    let mut snapshot = api.read(&caller).await?;
    let texts = snapshot.notice_texts(&version).await?;
    if texts.is_empty() {
        return Err(Problem::not_found(
            "this tenant has no notice text of this version; GET /v1/notice-texts lists them",
        ));
    }
    Ok(Json(TextVersion { version, texts }))
}

/// Lists the versions of notice texts.
///
/// Newest first.
#[utoipa::path(
    get,
    path = "/v1/notice-texts",
    operation_id = "listNoticeTexts",
    tag = "clients",
    security(("api_key" = ["app", "analyst", "auditor", "admin"])),
    params(
        PageQuery,
    ),
    responses(
        (status = 200, description = "The versions.", body = VersionList),
        ApiKeyProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn list(
    State(api): State<QueryContext>,
    headers: HeaderMap,
    query: Result<QueryParameters<PageQuery>, Problem>,
) -> Result<Json<VersionList>, Problem> {
    let caller = api.keys.authorize(&headers, &READERS).await?;
    let QueryParameters(query) = query?;
    let limit = paging::parse_limit(query.limit.as_deref())?;
    let binding = ListBinding::of("notice-texts", &())?;
    let after = binding.parse_cursor::<(DateTime<Utc>, String)>(query.cursor.as_deref())?;
    let mut snapshot = api.read(&caller).await?;
    let rows = snapshot.notice_versions(after, limit).await?;
    let sort_key = |(version, _, registered): &(String, _, _)| (*registered, version.clone());
    let next = binding.next_cursor(&rows, limit, sort_key);
    let versions = rows.into_iter().map(|(version, locales, registered)| VersionSummary {
        version,
        locales,
        registered_at: micros(registered),
    });
    Ok(Json(VersionList { versions: versions.collect(), next }))
}

fn valid_name(member: &str, name: Option<String>) -> Result<String, Problem> {
    name.filter(|name| {
        (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control)
    })
    .ok_or_else(|| {
        Problem::invalid(member, format!("1 to {MAX_NAME_BYTES} bytes without control characters"))
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
        if !(1..=MAX_TEXT_BYTES).contains(&text.len()) {
            return Err(Problem::invalid(pointer, format!("1 to {MAX_TEXT_BYTES} bytes")));
        }
    }
    Ok(())
}
