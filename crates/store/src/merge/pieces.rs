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

/// The pieces of one trace: a run in the sorted list of a tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct TracePieces {
    pub(super) start_unix_nano: u64,
    pub(super) trace_id: TraceId,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) n_rows: u64,
}

/// The traces of a sorted list of pieces.
pub(super) fn traces_of(pieces: &[Piece]) -> Vec<TracePieces> {
    let mut traces = Vec::new();
    let mut from = 0u32;
    for run in pieces.chunk_by(|a, b| a.trace_id == b.trace_id) {
        let to = from + run.len() as u32;
        let starts = run.iter().map(|piece| piece.start_unix_nano);
        if let (Some(first), Some(start)) = (run.first(), starts.min()) {
            traces.push(TracePieces {
                start_unix_nano: start,
                trace_id: first.trace_id,
                from,
                to,
                n_rows: run.iter().map(|piece| u64::from(piece.n_rows)).sum(),
            });
        }
        from = to;
    }
    traces
}

impl TracePieces {
    /// The trace in parts of at most so many spans, if its pieces are not larger: one, unless the trace
    /// is larger than a group may be.
    pub(super) fn parts(self, pieces: &[Piece], n_spans_max: u64) -> Vec<Self> {
        if self.n_rows <= n_spans_max {
            return vec![self];
        }
        let mut parts: Vec<Self> = Vec::new();
        let range = self.from as usize..self.to as usize;
        for (at, piece) in (self.from..).zip(pieces.get(range).unwrap_or_default()) {
            let n_rows = u64::from(piece.n_rows);
            match parts.last_mut() {
                Some(part) if part.n_rows + n_rows <= n_spans_max => {
                    part.to = at + 1;
                    part.n_rows += n_rows;
                    part.start_unix_nano = part.start_unix_nano.min(piece.start_unix_nano);
                }
                _ => parts.push(Self {
                    start_unix_nano: piece.start_unix_nano,
                    from: at,
                    to: at + 1,
                    n_rows,
                    ..self
                }),
            }
        }
        parts
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
        let is_full = n_spans + trace.n_rows > n_spans_max;
        if n_spans > 0 && (nearly_full || would_reach_over || is_full) {
            slices.extend(traces.get(from..index));
            (from, n_spans) = (index, 0);
        }
        n_spans += trace.n_rows;
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
        let traces = traces_of(&pieces);
        let parts = traces[0].parts(&pieces, 10);
        let ranges: Vec<_> = parts
            .iter()
            .map(|part| (part.from, part.to, part.n_rows))
            .collect();
        assert_eq!(ranges, [(0, 2, 7), (2, 3, 20), (3, 5, 10), (5, 6, 1)]);
        assert_eq!(parts[0].start_unix_nano, 99);
        assert_eq!(traces[0].parts(&pieces, 38).len(), 1);
    }
}
