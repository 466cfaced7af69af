use tracewell_model::TraceId;

use super::super::pieces::{slices, traces_of};
use super::*;

/// Traces as (input, group, start, spans), each of an id of its own.
fn pieces_of(traces: &[(u16, u32, u64, u32)]) -> Vec<Piece> {
    let traces = traces.iter().enumerate();
    let mut pieces: Vec<Piece> = traces
        .map(|(number, (input, group, start, n_rows))| Piece {
            trace_id: TraceId((number as u128).to_be_bytes()),
            start_unix_nano: *start,
            input: *input,
            group: *group,
            first_row: 0,
            n_rows: *n_rows,
        })
        .collect();
    pieces.sort_by_key(|piece| piece.trace_id);
    pieces
}

fn sorted_traces(pieces: &[Piece]) -> Vec<TracePieces> {
    let mut traces: Vec<_> = traces_of(pieces).collect();
    traces.sort_by_key(|trace| (trace.start_unix_nano, trace.from));
    traces
}

fn keys(pieces: &[Piece], n_spans_max: u64) -> Vec<GroupKey> {
    let found = candidates(&sorted_traces(pieces), pieces, n_spans_max);
    found.iter().map(|group| group.key).collect()
}

#[test]
fn groups_that_follow_each_other_are_copied_and_small_ones_are_not() {
    let pieces = pieces_of(&[
        (1, 0, 30, 60),
        (0, 0, 10, 40),
        (0, 0, 20, 10),
        (0, 1, 25, 49),
        (1, 1, 40, 100),
    ]);
    assert_eq!(keys(&pieces, 100), [(0, 0), (1, 0), (1, 1)]);
}

#[test]
fn a_split_trace_keeps_both_of_its_groups_from_being_copied() {
    let mut pieces = pieces_of(&[
        (0, 0, 10, 60),
        (0, 1, 20, 60),
        (1, 0, 30, 60),
        (1, 0, 31, 1),
        (1, 1, 40, 60),
    ]);
    let trace_id = pieces[3].trace_id;
    pieces.push(Piece {
        trace_id,
        start_unix_nano: 21,
        input: 0,
        group: 1,
        first_row: 60,
        n_rows: 1,
    });
    pieces.sort_by_key(|piece| piece.trace_id);
    assert_eq!(keys(&pieces, 100), [(0, 0), (1, 1)]);
}

#[test]
fn a_group_in_whose_time_others_lie_is_cut_anew() {
    let slices = [(1, 0, 20, 60), (1, 1, 30, 60), (1, 2, 40, 60)];
    // One trace of a clock that is far off makes the group reach over all others.
    let wide = [(0, 0, 0, 5), (0, 0, 50, 60)];
    let pieces = pieces_of(&[&slices[..], &wide[..]].concat());
    assert_eq!(keys(&pieces, 100), [(1, 0), (1, 1), (1, 2)]);
    // Two that lie side by side in time are both still worth a copy.
    let beside = [(0, 0, 20, 60), (1, 0, 20, 60)];
    assert_eq!(keys(&pieces_of(&beside), 100), [(0, 0), (1, 0)]);
    let beside = [(0, 0, 20, 60), (1, 0, 20, 60), (2, 0, 20, 60)];
    assert!(keys(&pieces_of(&beside), 100).is_empty());
}

#[test]
fn a_slice_that_is_half_full_does_not_reach_over_a_copy() {
    let copy = Candidate {
        key: (1, 0),
        n_spans: 80,
        start_min: 20,
        start_max: 30,
    };
    let n_slices = |n_spans: u32| {
        let pieces = pieces_of(&[(0, 0, 10, n_spans), (0, 0, 40, 20)]);
        slices(&sorted_traces(&pieces), &pieces, &[copy], 100).len()
    };
    assert_eq!(n_slices(49), 1);
    assert_eq!(n_slices(50), 2);
}
