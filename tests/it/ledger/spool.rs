//! The tail of the spool: every message once, in whatever order transactions commit, page by page.

use onrecord::postgres::{Postgres, SpoolTail};

use crate::support::postgres::fresh_database;

async fn store() -> (Postgres, sqlx::PgPool) {
    let url = fresh_database().await;
    let store = Postgres::new(&url, 2).unwrap();
    store.migrate(chrono::Utc::now()).await.unwrap();
    (store, sqlx::PgPool::connect(&url).await.unwrap())
}

fn messages(texts: &[&str]) -> Vec<(String, Vec<u8>)> {
    texts.iter().map(|text| ("t".to_owned(), text.as_bytes().to_vec())).collect()
}

async fn spool(store: &Postgres, texts: &[&str]) {
    store.spool(&messages(texts), chrono::Utc::now()).await.unwrap();
}

/// The messages of a page, and whether there are more.
async fn page(store: &Postgres, tail: &mut SpoolTail) -> (Vec<String>, bool) {
    let page = store.spooled_since(tail).await.unwrap();
    let texts =
        page.messages.into_iter().map(|message| String::from_utf8(message.message).unwrap());
    (texts.collect(), page.more)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_spooled_by_a_slow_transaction_is_read_once_and_no_other_is_read_again() {
    let (store, database) = store().await;
    let mut tail = SpoolTail::default();
    spool(&store, &["before"]).await;
    assert_eq!(page(&store, &mut tail).await, (vec!["before".into()], false));

    let mut slow = database.begin().await.unwrap();
    sqlx::query("insert into spool (tenant, message, stored_at) values ('t', 'slow', now())")
        .execute(&mut *slow)
        .await
        .unwrap();
    spool(&store, &["later"]).await;
    assert_eq!(page(&store, &mut tail).await, (vec!["later".into()], false));
    // The slow transaction keeps the window open, and nothing in it is read again.
    assert_eq!(page(&store, &mut tail).await, (vec![], false));
    slow.commit().await.unwrap();
    assert_eq!(page(&store, &mut tail).await, (vec!["slow".into()], false));
    assert_eq!(page(&store, &mut tail).await, (vec![], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_spool_is_read_page_by_page() {
    let (store, _database) = store().await;
    let texts: Vec<String> = (0..1_200).map(|n| format!("{n:04}")).collect();
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    for part in all.chunks(700) {
        spool(&store, part).await;
    }
    let mut tail = SpoolTail::default();
    let mut read = Vec::new();
    let mut pages = Vec::new();
    loop {
        let (texts, more) = page(&store, &mut tail).await;
        pages.push(texts.len());
        read.extend(texts);
        if pages.len() == 1 {
            // Messages that arrive during a pass belong to the next one.
            spool(&store, &["late"]).await;
        }
        if !more {
            break;
        }
    }
    assert_eq!(pages, [500, 500, 200]);
    assert_eq!(read, texts);
    assert_eq!(page(&store, &mut tail).await, (vec!["late".into()], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_messages_holds_few() {
    let (store, _database) = store().await;
    let large = "x".repeat(6 << 20);
    for _ in 0..3 {
        spool(&store, &[&large]).await;
    }
    let mut tail = SpoolTail::default();
    for (many, more) in [(2, true), (1, false)] {
        let page = store.spooled_since(&mut tail).await.unwrap();
        assert_eq!((page.messages.len(), page.more), (many, more));
    }
}
