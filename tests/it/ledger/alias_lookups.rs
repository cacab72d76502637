//! The look-up of ids asks for each id once: what it reads grows with the links of a batch, and not with
//! the ids below times the ids above.

use std::collections::BTreeSet;

use chrono::Utc;
use futures_util::FutureExt as _;
use onrecord::postgres::{self, HeldLocks, LockLimits, Postgres, StoreError, Tx};
use onrecord_evidence::identity::alias_graph::{AliasLink, Anchor};

use crate::support::postgres::fresh_database;
use crate::support::requirements::print_line;

/// Number of legs of the call, each with a link to its serverCallId.
const LEGS: usize = 2_000;
/// Number of correlationIds of the same serverCallId.
const CORRELATIONS: usize = 1_500;
/// Maximum number of rows that are read for each link of a batch. A look-up that joins the ids below with
/// those above reads 1,500 for each leg.
const MAX_READ_PER_LINK: i64 = 12;

#[tokio::test]
async fn a_batch_of_many_ids_below_one_with_many_above_reads_each_link_a_few_times() {
    let store = Postgres::new(&fresh_database().await, 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    let anchor = |kind: &str, number: usize| Anchor::from_stored(format!("{kind}{number:032x}"));
    let server = anchor("s-", 1);
    let link =
        |lower: &Anchor, upper: &Anchor| AliasLink { lower: lower.clone(), upper: upper.clone() };
    let mut first: BTreeSet<AliasLink> =
        (0..CORRELATIONS).map(|number| link(&server, &anchor("", number))).collect();
    first.extend((0..LEGS).map(|number| link(&anchor("a-", number), &server)));
    // A later batch has other legs of the same call.
    let second: BTreeSet<AliasLink> =
        (LEGS..2 * LEGS).map(|number| link(&anchor("a-", number), &server)).collect();
    for links in [first, second] {
        let links = &links;
        let read = store.run_tx("links", move |tx| insert(tx, links).boxed()).await.unwrap();
        let batch = i64::try_from(links.len()).unwrap();
        print_line(&format!("{read} rows were read for {batch} links"));
        assert!(read <= MAX_READ_PER_LINK * batch, "{read} rows for {batch} links");
    }
}

/// Stores links as the ledger does. Returns the number of rows that were read of the links and of the ids.
async fn insert(tx: &mut Tx<'_>, links: &BTreeSet<AliasLink>) -> Result<i64, StoreError> {
    let mut locks = HeldLocks::new(LockLimits::default());
    postgres::insert_links(tx, &mut locks, "contoso", links).await?;
    let read = sqlx::query_scalar(
        "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
         from pg_stat_xact_user_tables where relname in ('alias_link', 'call_alias')",
    );
    Ok(read.fetch_one(&mut **tx).await?)
}
