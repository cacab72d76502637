//! Entries that are merged in memory and written every two seconds.
//!
//! # Why
//!
//! A request or a health check must not wait for Postgres, and its observations must not be lost
//! while Postgres is unavailable. So entries are merged in memory by their key and written every
//! two seconds. Entries whose write failed return to memory and are merged with newer ones. A write
//! may have succeeded although it reported an error, and is then repeated: an entry written twice must
//! not do harm. An interval is only extended again; a count of rejections may become too high.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lifecycle::Lifecycle;

/// Interval at which entries are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of entries in memory; beyond it the first ones by key are dropped.
const MAX_ENTRIES: usize = 10_000;

/// A value that can be merged with another one of the same key. The order must not matter.
pub(crate) trait Merge {
    fn merge(&mut self, other: Self);
}

/// Where the entries are written.
pub(crate) trait WriteEntries<K, V>: Send + Sync + 'static {
    type Error: fmt::Display + Send;

    /// The plural noun of the entries, for log lines.
    const NAME: &'static str;

    /// Writes all entries, or returns an error.
    fn write(
        &self,
        entries: &BTreeMap<K, V>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Keeps entries in memory until they are written.
#[derive(Debug)]
pub(crate) struct BackgroundWriter<K, V> {
    unwritten: Arc<Mutex<BTreeMap<K, V>>>,
}

impl<K, V> Clone for BackgroundWriter<K, V> {
    fn clone(&self) -> Self {
        Self { unwritten: Arc::clone(&self.unwritten) }
    }
}

impl<K, V> Default for BackgroundWriter<K, V> {
    fn default() -> Self {
        Self { unwritten: Arc::default() }
    }
}

impl<K: Ord, V: Merge> BackgroundWriter<K, V> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, V>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry, merged with the one of the same key.
    pub(crate) fn add(&self, key: K, value: V) {
        self.add_all([(key, value)]);
    }

    /// Adds entries, each merged with the one of the same key.
    pub(crate) fn add_all(&self, entries: impl IntoIterator<Item = (K, V)>) {
        let mut unwritten = self.lock();
        for (key, value) in entries {
            match unwritten.entry(key) {
                Entry::Occupied(mut kept) => kept.get_mut().merge(value),
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
        while unwritten.len() > MAX_ENTRIES {
            unwritten.pop_first();
        }
    }

    /// Removes and returns the entries that are not written yet.
    pub(crate) fn take(&self) -> BTreeMap<K, V> {
        std::mem::take(&mut *self.lock())
    }

    /// Writes the entries once. If that fails, they return to memory.
    async fn write_once<W: WriteEntries<K, V>>(&self, destination: &W) {
        let taken = self.take();
        if !taken.is_empty()
            && let Err(error) = destination.write(&taken).await
        {
            tracing::debug!(error = %error, "{} stay in memory and are written later: {error}", W::NAME);
            self.add_all(taken);
        }
    }

    /// Writes the entries every [`WRITE_INTERVAL`] until the soft stop, and once more then.
    pub(crate) async fn run<W: WriteEntries<K, V>>(self, destination: W, lifecycle: Lifecycle) {
        let soft = lifecycle.soft().clone();
        loop {
            let pause = soft.run_until_cancelled(tokio::time::sleep(WRITE_INTERVAL)).await;
            self.write_once(&destination).await;
            if pause.is_none() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Count(u32);

    impl Merge for Count {
        fn merge(&mut self, other: Self) {
            self.0 += other.0;
        }
    }

    /// Stores the entries, or fails while it is unavailable.
    #[derive(Clone, Default)]
    struct Table {
        is_unavailable: Arc<std::sync::atomic::AtomicBool>,
        rows: Arc<Mutex<Vec<(&'static str, Count)>>>,
    }

    impl Table {
        fn set_unavailable(&self, is_unavailable: bool) {
            let order = std::sync::atomic::Ordering::SeqCst;
            self.is_unavailable.store(is_unavailable, order);
        }

        fn rows(&self) -> Vec<(&'static str, Count)> {
            self.rows.lock().unwrap().clone()
        }
    }

    impl WriteEntries<&'static str, Count> for Table {
        type Error = &'static str;
        const NAME: &'static str = "counts";

        async fn write(&self, entries: &BTreeMap<&'static str, Count>) -> Result<(), &'static str> {
            if self.is_unavailable.load(std::sync::atomic::Ordering::SeqCst) {
                return Err("unavailable");
            }
            let entries = entries.iter().map(|(key, count)| (*key, *count));
            self.rows.lock().unwrap().extend(entries);
            Ok(())
        }
    }

    #[tokio::test]
    async fn entries_whose_write_failed_are_kept_and_merged_with_newer_ones() {
        let (writer, table) = (BackgroundWriter::default(), Table::default());
        writer.add("a", Count(1));
        table.set_unavailable(true);
        writer.write_once(&table).await;
        assert_eq!(table.rows(), []);
        writer.add("a", Count(2));
        writer.add("b", Count(4));
        table.set_unavailable(false);
        writer.write_once(&table).await;
        writer.write_once(&table).await;
        assert_eq!(table.rows(), [("a", Count(3)), ("b", Count(4))]);
    }

    #[tokio::test(start_paused = true)]
    async fn entries_are_written_every_two_seconds_and_once_more_at_the_stop() {
        let (writer, table) = (BackgroundWriter::default(), Table::default());
        let lifecycle = Lifecycle::new();
        let running = tokio::spawn(writer.clone().run(table.clone(), lifecycle.clone()));
        writer.add("a", Count(1));
        tokio::time::sleep(WRITE_INTERVAL + Duration::from_millis(1)).await;
        assert_eq!(table.rows(), [("a", Count(1))]);
        writer.add("b", Count(1));
        lifecycle.stop();
        running.await.unwrap();
        assert_eq!(table.rows(), [("a", Count(1)), ("b", Count(1))]);
    }

    #[test]
    fn the_first_entries_are_dropped_beyond_the_maximum() {
        let writer = BackgroundWriter::default();
        for key in 0..=MAX_ENTRIES {
            writer.add(key, Count(1));
        }
        let taken = writer.take();
        assert_eq!(taken.len(), MAX_ENTRIES);
        assert!(!taken.contains_key(&0));
    }
}
