//! The rows of the schema `reading` in a snapshot: how many there are about, and all of them as a stream.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;

use super::binary_rows::ColumnType;
use super::exported_view::ExportedView;
use super::request::ExportRequest;
use crate::postgres::{StoreError, TenantSnapshot};

/// A column of a view.
#[derive(Clone, Debug, Serialize)]
pub struct ExportedColumn {
    pub name: String,
    /// The name of its type in SQL.
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(skip)]
    pub column_type: ColumnType,
    /// Meaning, unit, what null means, class of personal data, and lifetime.
    pub comment: String,
}

/// What the planner of the database answers to `explain (format json)`.
#[derive(Deserialize)]
struct ExplainedPlan {
    #[serde(rename = "Plan")]
    plan: TopNode,
}

#[derive(Deserialize)]
struct TopNode {
    #[serde(rename = "Plan Rows")]
    rows: f64,
}

impl TenantSnapshot {
    /// Sets the period and the filter for the rest of the snapshot.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn select_rows(&mut self, request: &ExportRequest) -> Result<(), StoreError> {
        let filter = &request.filter;
        sqlx::query(SET_SELECTION)
            .bind(request.from)
            .bind(request.to)
            .bind(&filter.app)
            .bind(&filter.verdict)
            .bind(&filter.kind)
            .execute(&mut *self.transaction)
            .await?;
        Ok(())
    }

    /// About how many rows an export has, as the planner estimates. Selects its rows.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn estimated_rows(&mut self, request: &ExportRequest) -> Result<u64, StoreError> {
        self.select_rows(request).await?;
        let mut total: u64 = 0;
        for view in &request.what {
            let statement = format!("explain (format json) {}", view.statement());
            let query = sqlx::query_scalar(AssertSqlSafe(statement));
            let plans: Json<Vec<ExplainedPlan>> = query.fetch_one(&mut *self.transaction).await?;
            let rows = plans.first().map(|explained| explained.plan.rows).ok_or_else(|| {
                StoreError::Inconsistent("the database explains no plan".to_owned())
            })?;
            // A number without a fraction.
            total = total.saturating_add(rows as u64);
        }
        Ok(total)
    }

    /// The columns of a view, in their order, and the comment of the view.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exported_columns(
        &mut self,
        view: ExportedView,
    ) -> Result<(Vec<ExportedColumn>, String), StoreError> {
        let name = format!("reading.{}", view.name());
        let query = sqlx::query_as(SELECT_COLUMNS).bind(&name);
        let columns: Vec<(String, String, String)> =
            query.fetch_all(&mut *self.transaction).await?;
        let columns = columns.into_iter().map(|(name, type_name, comment)| {
            let column_type = ColumnType::parse(&type_name).ok_or_else(|| {
                StoreError::Inconsistent(format!(
                    "the column {name} of the view {} has the type {type_name}, which exports do not have",
                    view.name()
                ))
            })?;
            Ok(ExportedColumn { name, type_name, column_type, comment })
        });
        let columns = columns.collect::<Result<_, StoreError>>()?;
        let query = sqlx::query_scalar(SELECT_VIEW_COMMENT).bind(&name);
        Ok((columns, query.fetch_one(&mut *self.transaction).await?))
    }

    /// The selected rows of a view, sorted by their time, as a binary copy.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exported_rows(
        &mut self,
        view: ExportedView,
    ) -> Result<BoxStream<'_, Result<Bytes, StoreError>>, StoreError> {
        let copy = format!("copy ({}) to stdout with (format binary)", view.statement());
        let rows = self.transaction.copy_out_raw(&copy).await?;
        Ok(Box::pin(rows.map_err(StoreError::from)))
    }
}

statements! {
    const SET_SELECTION: &str =
        "select set_config('onrecord.export_from', $1::timestamptz::text, true), set_config('onrecord.export_to', $2::timestamptz::text, true),
            set_config('onrecord.export_app', $3::text[]::text, true), set_config('onrecord.export_verdict', $4::text[]::text, true),
            set_config('onrecord.export_kind', $5::text[]::text, true)";

    const SELECT_COLUMNS: &str =
        "select attribute.attname::text, format_type(attribute.atttypid, null), coalesce(col_description(attribute.attrelid, attribute.attnum), '')
         from pg_attribute as attribute
         where attribute.attrelid = $1::text::regclass and attribute.attnum > 0 and not attribute.attisdropped
         order by attribute.attnum";

    const SELECT_VIEW_COMMENT: &str = "select coalesce(obj_description($1::text::regclass, 'pg_class'), '')";
}
