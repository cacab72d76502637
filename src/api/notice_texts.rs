//! `PUT /v1/notice-texts/{version}`: the words of a notice, registered for ever; `GET` lists the
//! versions, and gives one with its words.
//!
//! The only thing that is written in this room. The SHA-256 is ours: what a client says that it
//! showed is compared with it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::reader::{Api, micros};
use crate::clock;
use crate::domain::ids::Digest;
use crate::http::body::JsonBody;
use crate::http::page;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{NoticeText, Registration, Role};

const LONGEST_NAME: usize = 128;
const LONGEST_TEXT: usize = 64 * 1024;
const MOST_LOCALES: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextsBody {
    /// By locale.
    texts: BTreeMap<String, String>,
}

#[derive(Serialize)]
pub(super) struct Version {
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
pub(super) struct ListQuery {
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct VersionList {
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
            registered_at: micros(text.registered),
        }
    }
}

pub(super) async fn register(
    State(api): State<Api>,
    headers: HeaderMap,
    version: Result<Path<String>, PathRejection>,
    body: Result<JsonBody<TextsBody>, Problem>,
) -> Result<(StatusCode, Json<Version>), Problem> {
    let caller = api.keys.caller(&headers).await?;
    caller.must_be(&[Role::App])?;
    let version = name("version", version.ok().map(|Path(version)| version))?;
    let JsonBody { value, .. } = body?;
    let texts: Vec<(String, String)> = value.texts.into_iter().collect();
    are_words(&texts)?;
    let registration = api
        .store
        .register_texts(&caller.tenant, &version, &texts, clock::now())
        .await?;
    let status = match registration {
        Registration::New => StatusCode::CREATED,
        Registration::Same => StatusCode::OK,
        Registration::Other => {
            return Err(Problem::new(
                ProblemKind::Conflict,
                "this version is registered with other words, or for other locales; what people were shown does not change: register the words under a new version",
            ));
        }
    };
    let mut room = api.read(&caller.tenant).await?;
    let texts = room.notice_texts(&version).await?;
    Ok((status, Json(found(version, texts))))
}

pub(super) async fn one(
    State(api): State<Api>,
    headers: HeaderMap,
    version: Result<Path<String>, PathRejection>,
) -> Result<Json<Version>, Problem> {
    let caller = api.keys.caller(&headers).await?;
    caller.must_be(&[Role::App, Role::Analyst, Role::Auditor])?;
    let version = name("version", version.ok().map(|Path(version)| version))?;
    let mut room = api.read(&caller.tenant).await?;
    let texts = room.notice_texts(&version).await?;
    if texts.is_empty() {
        return Err(Problem::not_found(
            "no notice text of yours has this version; GET /v1/notice-texts lists them",
        ));
    }
    Ok(Json(found(version, texts)))
}

pub(super) async fn list(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<VersionList>, Problem> {
    let caller = api.keys.caller(&headers).await?;
    caller.must_be(&[Role::App, Role::Analyst, Role::Auditor])?;
    let Query(query) =
        query.map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
    let limit = page::limit(query.limit.as_deref())?;
    let after = page::read::<(DateTime<Utc>, String)>(query.cursor.as_deref())?;
    let mut room = api.read(&caller.tenant).await?;
    let rows = room.notice_versions(after, limit).await?;
    let full = rows.len() as i64 == limit;
    let next = rows
        .last()
        .filter(|_| full)
        .and_then(|(version, _, registered)| page::write(&(registered, version)));
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

fn found(version: String, texts: Vec<NoticeText>) -> Version {
    Version {
        version,
        texts: texts.into_iter().map(TextView::from).collect(),
    }
}

fn name(member: &str, name: Option<String>) -> Result<String, Problem> {
    name.filter(|name| {
        (1..=LONGEST_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
    })
    .ok_or_else(|| {
        Problem::invalid(
            member,
            format!("1 to {LONGEST_NAME} bytes without control characters"),
        )
    })
}

fn are_words(texts: &[(String, String)]) -> Result<(), Problem> {
    if !(1..=MOST_LOCALES).contains(&texts.len()) {
        return Err(Problem::invalid(
            "/texts",
            format!("the words by locale, 1 to {MOST_LOCALES} of them: {{\"de-DE\":\"…\"}}"),
        ));
    }
    for (locale, text) in texts {
        let pointer = format!("/texts/{}", locale.replace('~', "~0").replace('/', "~1"));
        name(&pointer, Some(locale.clone()))?;
        if !(1..=LONGEST_TEXT).contains(&text.len()) || text.contains('\0') {
            return Err(Problem::invalid(
                pointer,
                format!("1 to {LONGEST_TEXT} bytes without NUL"),
            ));
        }
    }
    Ok(())
}
