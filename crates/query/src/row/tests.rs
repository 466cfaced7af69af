use super::*;
use crate::fixtures::text;
use crate::pipeline::spansets;
use crate::plan::{Plan, PlanLimits};
use crate::request::Aliases;
use crate::syntax::parse;

const N_ITEMS: usize = 100_000;

fn plan(query: &str) -> Plan {
    let limits = PlanLimits::from(&tracewell_model::Limits::default());
    Plan::new(query, &parse(query).unwrap(), Aliases::Resolve, limits).unwrap()
}

fn event(attributes: Vec<KeyValue>) -> Event {
    Event {
        attributes,
        ..Event::default()
    }
}

fn link(attributes: Vec<KeyValue>) -> Link {
    Link {
        attributes,
        ..Link::default()
    }
}

fn shown(plan: &Plan, span: &Span) -> Vec<Option<KeyValue>> {
    let facts = TraceFacts::of(std::slice::from_ref(span));
    let row = facts.row(0).unwrap();
    plan.shown.iter().map(|shown| row.shown(shown)).collect()
}

#[test]
fn the_first_event_or_link_with_a_value_is_shown() {
    let span = Span {
        events: vec![event(Vec::new()), event(vec![text("a", "of an event")])],
        links: vec![link(vec![text("b", "of a link")]), link(Vec::new())],
        ..Span::default()
    };
    let plan = plan("{ .a = 1 || .b = 1 || event.b = 1 || link.b = 1 }");
    assert_eq!(
        shown(&plan, &span),
        [
            Some(text("a", "of an event")),
            Some(text("b", "of a link")),
            None,
            Some(text("b", "of a link")),
        ]
    );
}

/// Every pair of an event and a link of this span would take minutes.
#[test]
fn many_events_and_links_are_looked_at_one_by_one() {
    let mut span = Span {
        events: vec![event(Vec::new()); N_ITEMS],
        links: vec![link(Vec::new()); N_ITEMS],
        ..Span::default()
    };
    let plan = plan("{ .a = 1 || span.b = 1 || event.c = 1 || link.d = 1 }");
    assert_eq!(shown(&plan, &span), [None, None, None, None]);
    span.events
        .push(event(vec![text("a", "x"), text("c", "y")]));
    span.links.push(link(vec![text("d", "z")]));
    let all = [text("a", "x"), text("c", "y"), text("d", "z")].map(Some);
    let [a, c, d] = all;
    assert_eq!(shown(&plan, &span), [a, None, c, d]);
}

#[test]
fn pairs_of_an_event_and_a_link_are_bounded() {
    let plan = plan("{ event.a = link.a }");
    let found = |n_events: usize, n_links: usize, link_idx: usize| {
        let mut span = Span {
            events: vec![event(Vec::new()); n_events],
            links: vec![link(Vec::new()); n_links],
            ..Span::default()
        };
        span.events[n_events - 1] = event(vec![text("a", "x")]);
        span.links[link_idx] = link(vec![text("a", "x")]);
        let spans = [span];
        let is_found = !spansets(&plan, &TraceFacts::of(&spans)).is_empty();
        (is_found, leaves_out_pairs(&plan.filters[0].exact, &spans))
    };
    assert_eq!(found(256, 256, 255), (true, false));
    assert_eq!(found(256, 257, 256), (false, true));
    assert_eq!(found(N_ITEMS, N_ITEMS, 0), (true, true));
    assert_eq!(found(N_ITEMS, N_ITEMS, 1), (false, true));
    assert_eq!(found(1, N_ITEMS, 0), (true, true));
    let plain = self::plan("{ event.a = 1 && link.a = 1 }");
    let span = Span {
        events: vec![Event::default(); 300],
        links: vec![Link::default(); 300],
        ..Span::default()
    };
    assert!(!leaves_out_pairs(&plain.filters[0].exact, &[span]));
}
