//! What a record says of itself to people: `iso cache where` and `iso cache show`.

use std::{sync::Arc, time::Duration};

use super::{
    aged,
    record::{RecordHead, RecordHeader},
};
use crate::{
    WallTime,
    range::{ByteRange, ContentRange},
    store::{EntryDetail, EntryReport, EntryState, Medium, ResponseDetail},
};

/// A record as one more entry, with what decides about it.
pub fn detail(now: WallTime, header: &RecordHeader, record: &RecordHead) -> EntryDetail {
    let response = ResponseDetail {
        head: Arc::clone(&record.head),
        lifetime: record.lifetime,
        resident: now.saturating_since(record.stored_at),
        origin_left_alone_for: Duration::ZERO,
        lacking: record.part.map(beside).unwrap_or_default(),
    };
    // What answers HEAD alone has no place there.
    EntryDetail { report: report(now, header, record), key: header.key, head_only: false, response: Some(response) }
}

/// A record as one more entry. Nobody counts when it was last asked for: since when it lies there stands for that.
fn report(now: WallTime, header: &RecordHeader, record: &RecordHead) -> EntryReport {
    let left = aged(record.lifetime, record.stored_at, now);
    let state = if !left.fresh_for.is_zero() {
        if record.part.is_some() { EntryState::Partial } else { EntryState::Fresh }
    } else if !left.while_revalidate.is_zero() {
        EntryState::StaleWhileRevalidate
    } else if !left.if_gone.is_zero() {
        EntryState::StaleIfError
    } else {
        EntryState::Stale
    };
    EntryReport {
        kept_in: Medium::Disk,
        uri: record.uri.to_string(),
        state,
        vary: record.vary.names(),
        status: Some(record.head.status()),
        etag: record.head.validators().etag,
        age: left.initial_age,
        fresh_for: left.fresh_for,
        body_bytes: header.body_bytes,
        bytes: header.record_bytes(),
        since_last_hit: now.saturating_since(record.stored_at),
    }
}

/// What of the whole is not in this record. Others may have it.
fn beside(ContentRange { part, total }: ContentRange) -> Vec<ByteRange> {
    let before = part.first.checked_sub(1).map(|last| ByteRange { first: 0, last });
    let after = ByteRange { first: part.last + 1, last: total.saturating_sub(1) };
    before.into_iter().chain((after.first < total).then_some(after)).collect()
}
