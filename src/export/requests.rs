//! Admits requests for exports: of the API, and of the console.

use std::time::Duration;

use uuid::Uuid;

use super::context::ExportContext;
use crate::http::auth::Caller;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{ExportAdmission, ExportRequest, NewExport};

/// Maximum number of exports of a tenant that are not finished.
const MAX_UNFINISHED: i64 = 20;
/// Time after which a tenant with too many exports should ask again.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Queues an export, and returns its id.
///
/// # Errors
///
/// It would be too large, the tenant has too many that are not finished, or the store failed.
pub(crate) async fn request_export(
    context: &ExportContext,
    caller: &Caller,
    request: &ExportRequest,
) -> Result<Uuid, Problem> {
    let mut snapshot = context.store.read(&caller.tenant).await?;
    let estimated_rows = snapshot.estimated_rows(request).await?;
    drop(snapshot);
    check_size(request, estimated_rows, context.settings.max_rows)?;
    let id = Uuid::now_v7();
    let new = NewExport {
        id,
        tenant: &caller.tenant,
        request,
        requested_by: (caller.id, &caller.name),
        estimated_rows,
    };
    match context.store.request_export(&new, MAX_UNFINISHED).await? {
        ExportAdmission::Queued => {}
        ExportAdmission::TooMany => {
            let detail = format!(
                "{MAX_UNFINISHED} exports of the tenant are not finished; wait for one, or delete it"
            );
            return Err(Problem::too_many(detail, RETRY_AFTER));
        }
    }
    context.requested.notify_one();
    Ok(id)
}

fn check_size(request: &ExportRequest, estimated: u64, max: u64) -> Result<(), Problem> {
    if estimated <= max {
        return Ok(());
    }
    let views: Vec<&str> = request.what.iter().map(|view| view.name()).collect();
    Err(Problem::new(
        ProblemKind::AnswerTooLarge,
        format!(
            "{} would have about {estimated} rows, and an export has at most {max}; choose a shorter period, fewer views or a filter",
            views.join(" and ")
        ),
    ))
}
