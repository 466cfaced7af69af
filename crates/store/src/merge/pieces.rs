//! The rows of a merge by trace: where each trace lies in the inputs, and which traces are written
//! together.
//!
//! Pure: nothing is read here.

use tracewell_model::TraceId;

use super::copy::Candidate;

/// Names a group: number of the input, number in it.
pub(super) type GroupKey = (u16, u32);

/// One run of rows of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) trace_id: TraceId,
    pub(super) start_unix_nano: u64,
    pub(super) input: u16,
    pub(super) group: u32,
    pub(super) first_row: u32,
    pub(super) n_rows: u32,
}

/// The pieces of one trace: a run in the sorted list of a tenant. One for each trace of a merge is held:
/// 24 bytes, 64 with its piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct TracePieces {
    pub(super) start_unix_nano: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    /// Saturates: a trace of more is written in parts of its pieces, each of which counts its own.
    pub(super) n_rows: u32,
}

/// The traces of a sorted list of pieces, in its order.
pub(super) fn traces_of(pieces: &[Piece]) -> impl Iterator<Item = TracePieces> {
    let mut from = 0u32;
    pieces
        .chunk_by(|a, b| a.trace_id == b.trace_id)
        .map(move |run| {
            let to = from + run.len() as u32;
            let starts = run.iter().map(|piece| piece.start_unix_nano);
            let trace = TracePieces {
                start_unix_nano: starts.min().unwrap_or_default(),
                from,
                to,
                n_rows: run
                    .iter()
                    .fold(0, |sum: u32, piece| sum.saturating_add(piece.n_rows)),
            };
            from = to;
            trace
        })
}

impl TracePieces {
    /// Its pieces in the list of its tenant.
    pub(super) fn of<'p>(&self, pieces: &'p [Piece]) -> &'p [Piece] {
        let run = pieces.get(self.from as usize..self.to as usize);
        run.unwrap_or_default()
    }

    /// Adds the trace in parts of at most so many spans, if its pieces are not larger: one, unless the
    /// trace is larger than a group may be.
    pub(super) fn add_parts(self, pieces: &[Piece], n_spans_max: u64, parts: &mut Vec<Self>) {
        if u64::from(self.n_rows) <= n_spans_max {
            parts.push(self);
            return;
        }
        let mut last: Option<Self> = None;
        for (at, piece) in (self.from..).zip(self.of(pieces)) {
            match &mut last {
                Some(part) if u64::from(part.n_rows) + u64::from(piece.n_rows) <= n_spans_max => {
                    part.to = at + 1;
                    part.n_rows += piece.n_rows;
                    part.start_unix_nano = part.start_unix_nano.min(piece.start_unix_nano);
                }
                _ => parts.extend(last.replace(Self {
                    start_unix_nano: piece.start_unix_nano,
                    from: at,
                    to: at + 1,
                    n_rows: piece.n_rows,
                })),
            }
        }
        parts.extend(last);
    }

    /// Is there more of its trace in the list than this part?
    pub(super) fn is_part(&self, pieces: &[Piece]) -> bool {
        let id_of = |at: Option<u32>| Some(pieces.get(at? as usize)?.trace_id);
        let id = id_of(Some(self.from));
        id == id_of(self.from.checked_sub(1)) || id == id_of(Some(self.to))
    }
}

/// Runs of traces of at most so many spans; a piece that is larger alone is a slice of its own. A slice that is
/// nearly full ends where the groups of the inputs change: the next one then begins with a group of
/// its own, and none is decoded for two slices. One that is half full ends where a group that is copied
/// (they come sorted by their last start) lies before the next trace, so that it does not reach over it.
pub(super) fn slices<'t>(
    traces: &'t [TracePieces],
    pieces: &[Piece],
    copies: &[Candidate],
    n_spans_max: u64,
) -> Vec<&'t [TracePieces]> {
    let group_of = |trace: &TracePieces| {
        let piece = pieces.get(trace.from as usize);
        piece.map(|piece| (piece.input, piece.group))
    };
    let mut slices = Vec::new();
    let (mut from, mut n_spans) = (0, 0u64);
    let mut last = None;
    let (mut copies, mut n_copied) = (copies.iter().peekable(), 0);
    for (index, trace) in traces.iter().enumerate() {
        let group = group_of(trace);
        let n_before = n_copied;
        while copies
            .next_if(|copy| copy.start_max < trace.start_unix_nano)
            .is_some()
        {
            n_copied += 1;
        }
        let nearly_full = n_spans >= n_spans_max / 4 * 3 && group != last;
        let would_reach_over = n_spans >= n_spans_max / 2 && n_copied > n_before;
        let n_rows = u64::from(trace.n_rows);
        let is_full = n_spans + n_rows > n_spans_max;
        if n_spans > 0 && (nearly_full || would_reach_over || is_full) {
            slices.extend(traces.get(from..index));
            (from, n_spans) = (index, 0);
        }
        n_spans += n_rows;
        last = group;
    }
    slices.extend(traces.get(from..).filter(|rest| !rest.is_empty()));
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_larger_than_a_group_comes_in_parts() {
        let piece = |n: u32, n_rows: u32| Piece {
            trace_id: TraceId([1; 16]),
            start_unix_nano: u64::from(100 - n),
            input: n as u16,
            group: 0,
            first_row: 0,
            n_rows,
        };
        let pieces: Vec<Piece> = (0..)
            .zip([3, 4, 20, 1, 9, 1])
            .map(|(n, rows)| piece(n, rows))
            .collect();
        let trace = traces_of(&pieces).next().expect("one trace");
        let parts_of = |n_spans_max| {
            let mut parts = Vec::new();
            trace.add_parts(&pieces, n_spans_max, &mut parts);
            parts
        };
        let parts = parts_of(10);
        let ranges: Vec<_> = parts
            .iter()
            .map(|part| (part.from, part.to, part.n_rows))
            .collect();
        assert_eq!(ranges, [(0, 2, 7), (2, 3, 20), (3, 5, 10), (5, 6, 1)]);
        assert_eq!(parts[0].start_unix_nano, 99);
        assert!(parts.iter().all(|part| part.is_part(&pieces)));
        assert_eq!(parts_of(38).len(), 1);
        assert!(!trace.is_part(&pieces));
    }
}
