//! The problems that resources answer, as responses of the description. A resource lists the sets that it
//! answers; the statuses of two sets of one resource differ.

use std::collections::BTreeMap;

use utoipa::openapi::header::Header;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::http::problem::{Problem, ProblemKind};

/// Types that stand for the responses of some kinds of problems.
macro_rules! problem_sets {
    ($($(#[$doc:meta])* $set:ident = $($kind:ident),+;)+) => {
        $(
            $(#[$doc])*
            pub(crate) enum $set {}

            impl IntoResponses for $set {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    responses(&[$(ProblemKind::$kind),+])
                }
            }
        )+
    };
}

problem_sets! {
    /// Of resources that need an API key.
    ApiKeyProblems = InvalidRequest, Unauthorized, Forbidden, Internal, TryAgain;
    /// Of resources that need a subscriber token.
    TokenProblems = InvalidRequest, Unauthorized, TokenRevoked, Forbidden, NotGranted, Internal, TryAgain;
    /// Of resources with a body.
    BodyProblems = TooLarge, TooManyRequests;
    /// Of resources with a limit of their own.
    LimitProblems = TooManyRequests;
    /// Of resources that have an id in their path.
    IdProblems = NotFound;
    /// Of resources whose state may not permit it.
    ConflictProblems = Conflict;
    /// Of resources whose answer may be too large.
    SizeProblems = AnswerTooLarge;
    /// Of resources that need a setting.
    SettingProblems = NotConfigured;
    /// Of resources with ranges.
    RangeProblems = RangeNotSatisfiable;
    /// Of deliveries.
    DeliveryProblems = TooLarge, TryAgain;
    /// Of the handshake of deliveries.
    OptionsProblems = MethodNotAllowed, TryAgain;
}

/// One response for each status of the kinds.
fn responses(kinds: &[ProblemKind]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<ProblemKind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_str().to_owned()).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status, response(&kinds).into())).collect()
}

fn response(kinds: &[ProblemKind]) -> Response {
    let sentences: Vec<String> =
        kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), kind.title())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    let mut response = ResponseBuilder::new()
        .description(sentences.join(" "))
        .content("application/problem+json", content.build());
    if kinds.iter().any(|kind| matches!(kind, ProblemKind::TooManyRequests | ProblemKind::TryAgain))
    {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
        let mut header = Header::new(seconds);
        header.description = Some("Seconds after which the same request may succeed.".to_owned());
        response = response.header("retry-after", header);
    }
    response.build()
}
