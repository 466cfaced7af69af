//! Hostile bodies: each limit bites by name, one bad span is refused alone, nothing is reserved for
//! what is only claimed.

use bytes::Bytes;
use tracewell_model::{AttributeValue, KeyValue, Limits, Span, SpanId, Status, TenantId, TraceId};
use tracewell_wire::otlp::{self, DecodeError, Reason};
use tracewell_wire::protobuf::Writer;

fn decode_with(body: Vec<u8>, limits: &Limits) -> Result<otlp::Decoded, DecodeError> {
    otlp::decode(TenantId::single(), Bytes::from(body), limits)
}

fn decode(body: Vec<u8>) -> Result<otlp::Decoded, DecodeError> {
    decode_with(body, &Limits::default())
}

fn span(number: u8) -> Span {
    Span {
        trace_id: TraceId([number.max(1); 16]),
        span_id: SpanId([number.max(1); 8]),
        name: format!("span {number}"),
        start_unix_nano: 5,
        end_unix_nano: 9,
        ..Span::default()
    }
}

fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value,
    }
}

fn nested(levels: usize) -> AttributeValue {
    (0..levels).fold(AttributeValue::Int(1), |value, level| {
        if level % 2 == 0 {
            AttributeValue::Array(vec![value])
        } else {
            AttributeValue::KvList(vec![attribute("k", value)])
        }
    })
}

/// Three spans of which the middle one is changed: it alone is refused, for the reason given.
#[track_caller]
fn check_refused(reason: Reason, change: impl FnOnce(&mut Span)) {
    let limits = Limits::default();
    let mut spans = vec![span(1), span(2), span(3)];
    change(&mut spans[1]);
    let decoded = decode_with(otlp::encode_spans(&spans), &limits).unwrap();
    assert_eq!(
        decoded.rejected.iter().collect::<Vec<_>>(),
        [(reason, 1)],
        "{}",
        decoded.rejected.sentence()
    );
    spans.remove(1);
    assert_eq!(otlp::spans_of(&decoded.batch), spans);
    assert_eq!(decoded.batch.body, otlp::encode_spans(&spans));
    let sentence = decoded.rejected.sentence();
    assert!(sentence.contains(reason.label()), "{sentence}");
    assert!(sentence.contains("span 1 of the request"), "{sentence}");
}

#[test]
fn a_span_beyond_a_limit_is_refused_alone() {
    let limits = Limits::default();
    let text = |n: usize| "a".repeat(n);
    check_refused(Reason::InvalidTraceId, |s| s.trace_id = TraceId([0; 16]));
    check_refused(Reason::InvalidSpanId, |s| s.span_id = SpanId([0; 8]));
    check_refused(Reason::NameTooLarge, |s| {
        s.name = text(limits.name_bytes_max + 1);
    });
    check_refused(Reason::NameTooLarge, |s| {
        s.trace_state = text(limits.name_bytes_max + 1);
    });
    check_refused(Reason::StatusMessageTooLarge, |s| {
        s.status = Some(Status {
            code: 2,
            message: text(limits.attribute_value_bytes_max + 1),
        });
    });
    check_refused(Reason::TooManyAttributes, |s| {
        s.attributes = vec![KeyValue::default(); limits.attributes_max + 1];
    });
    check_refused(Reason::AttributeKeyTooLarge, |s| {
        let key = text(limits.attribute_key_bytes_max + 1);
        s.attributes = vec![attribute(&key, AttributeValue::Empty)];
    });
    check_refused(Reason::AttributeTooLarge, |s| {
        let value = text(limits.attribute_value_bytes_max + 1);
        s.attributes = vec![attribute("k", AttributeValue::String(value))];
    });
    check_refused(Reason::AttributeTooDeep, |s| {
        let value = nested(limits.attribute_depth_max + 1);
        s.attributes = vec![attribute("k", value)];
    });
}

#[test]
fn what_stays_within_the_limits_is_kept() {
    let limits = Limits::default();
    let mut one = span(1);
    one.name = "n".repeat(limits.name_bytes_max);
    one.attributes = vec![KeyValue::default(); limits.attributes_max - 1];
    one.attributes
        .push(attribute("k", nested(limits.attribute_depth_max)));
    let decoded = decode(otlp::encode_spans([&one])).unwrap();
    assert!(decoded.rejected.is_empty());
    assert_eq!(otlp::spans_of(&decoded.batch), [one]);
}

/// A request with one span whose fields are written by hand, between two good ones.
fn with_raw_span(fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.raw(&otlp::encode_spans([&span(1)]));
    out.message(1, |out| out.message(2, |out| out.message(2, fields)));
    out.raw(&otlp::encode_spans([&span(3)]));
    out.into_bytes()
}

#[track_caller]
fn check_raw_refused(reason: Reason, fields: impl FnOnce(&mut Writer)) {
    let decoded = decode(with_raw_span(fields)).unwrap();
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(reason, 1)]);
    assert_eq!(otlp::spans_of(&decoded.batch), [span(1), span(3)]);
}

fn ids(out: &mut Writer) {
    out.bytes(1, &[1; 16]);
    out.bytes(2, &[1; 8]);
}

#[test]
fn ids_of_the_wrong_length_are_refused() {
    check_raw_refused(Reason::InvalidTraceId, |_| {});
    check_raw_refused(Reason::InvalidTraceId, |out| out.bytes(1, &[1; 15]));
    check_raw_refused(Reason::InvalidSpanId, |out| out.bytes(1, &[1; 16]));
    check_raw_refused(Reason::InvalidParentSpanId, |out| {
        ids(out);
        out.bytes(4, &[1; 7]);
    });
    check_raw_refused(Reason::InvalidLinkId, |out| {
        ids(out);
        out.message(13, |out| out.bytes(1, &[1; 16]));
    });
}

#[test]
fn text_that_is_not_utf8_refuses_its_span() {
    for field in [3, 5] {
        check_raw_refused(Reason::InvalidUtf8, |out| {
            ids(out);
            out.bytes(field, &[b'a', 0xff]);
        });
    }
    let long = [[b'a'; 100].as_slice(), &[0xc3]].concat();
    check_raw_refused(Reason::InvalidUtf8, |out| {
        ids(out);
        out.message(9, |out| out.message(2, |out| out.bytes(1, &long)));
    });
    check_raw_refused(Reason::InvalidUtf8, |out| {
        ids(out);
        out.message(9, |out| {
            out.message(2, |out| {
                out.message(5, |out| out.message(1, |out| out.bytes(1, &[0xc0, 0x80])));
            });
        });
    });
}

#[test]
fn a_bad_resource_or_scope_refuses_the_spans_below_it() {
    let mut out = Writer::default();
    out.raw(&otlp::encode_spans([&span(1)]));
    out.message(1, |out| {
        // The resource stands behind its spans, which protobuf allows.
        out.message(2, |out| {
            out.message(2, ids);
            out.message(2, ids);
        });
        out.message(2, |out| out.message(2, ids));
        out.message(1, |out| out.message(1, |out| out.bytes(1, &[0xff])));
    });
    out.message(1, |out| {
        out.message(2, |out| {
            out.message(1, |out| out.bytes(1, &[0xff]));
            out.message(2, ids);
        });
        out.message(2, |out| out.message(2, ids));
    });
    let decoded = decode(out.into_bytes()).unwrap();
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::InvalidUtf8, 4)]);
    assert_eq!(decoded.rejected.n_spans(), 6);
    assert_eq!(decoded.batch.n_spans(), 2);
    assert!(decoded.rejected.sentence().contains("the resource of span"));
}

#[test]
fn a_claimed_length_reserves_nothing() {
    // ResourceSpans of 1 GB.
    let body = vec![0x0a, 0x80, 0x80, 0x80, 0x80, 0x04, 1, 2, 3];
    let error = decode(body).unwrap_err().to_string();
    assert_eq!(
        error,
        "body is not OTLP protobuf: at byte 1, in the request: a length of 1073741824 bytes where \
         3 are left"
    );
}

#[test]
fn damage_is_named_with_its_place() {
    let good = with_raw_span(ids);
    let cut = decode(good[..good.len() - 1].to_vec()).unwrap_err();
    assert!(matches!(cut, DecodeError::Malformed { .. }), "{cut}");
    let error = decode(with_raw_span(|out| {
        ids(out);
        out.varint(5, 7);
    }))
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("in Span: field 5 is a varint, which the schema forbids"),
        "{error}"
    );
    let error = decode(vec![0x0b]).unwrap_err().to_string();
    assert!(error.contains("field 1 is a group"), "{error}");
}

#[test]
fn two_hundred_thousand_levels_cost_nothing() {
    // From the inside out: each level is an AnyValue in an ArrayValue in an AnyValue.
    let mut lens = vec![0usize];
    for _ in 0..200_000 {
        let inner = lens[lens.len() - 1];
        let element = 1 + tracewell_wire::protobuf::varint_len(inner as u64) + inner;
        let array = 1 + tracewell_wire::protobuf::varint_len(element as u64) + element;
        lens.push(array);
    }
    let mut value = Writer::default();
    for inner in lens.iter().rev().skip(1) {
        let element = 1 + tracewell_wire::protobuf::varint_len(*inner as u64) + inner;
        value.raw(&[0x2a]);
        value.raw_varint(element as u64);
        value.raw(&[0x0a]);
        value.raw_varint(*inner as u64);
    }
    let value = value.into_bytes();
    let body = |value: &[u8]| {
        with_raw_span(|out| {
            ids(out);
            out.message(9, |out| out.bytes(2, value));
        })
    };
    let mut limits = Limits::default();
    limits.attribute_value_bytes_max = usize::MAX;
    limits.attribute_depth_max = usize::MAX;
    let decoded = decode_with(body(&value), &limits).unwrap();
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::AttributeTooDeep, 1)]);
    assert!(otlp::decode_any_value(&value).is_err());
}

#[test]
fn a_million_attributes_are_cut_off_at_the_limit() {
    let decoded = decode(with_raw_span(|out| {
        ids(out);
        (0..1_000_000).for_each(|_| out.raw(&[0x4a, 0]));
    }))
    .unwrap();
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::TooManyAttributes, 1)]);
    // Rows of the refused span were taken back; what was reserved stays small.
    assert_eq!(decoded.batch.attributes.keys.len(), 0);
    assert!(decoded.batch.attributes.keys.capacity() < 1 << 17);
}

#[test]
fn a_million_events_or_elements_are_counted() {
    let mut limits = Limits::default();
    limits.request_items_max = 1_000;
    let events = with_raw_span(|out| {
        ids(out);
        (0..100_000).for_each(|_| out.raw(&[0x5a, 0]));
    });
    let elements = with_raw_span(|out| {
        ids(out);
        out.message(9, |out| {
            out.message(2, |out| {
                out.message(5, |out| (0..100_000).for_each(|_| out.raw(&[0x0a, 0])));
            });
        });
    });
    for body in [events, elements] {
        let decoded = decode_with(body, &limits).unwrap();
        let reasons: Vec<_> = decoded.rejected.iter().collect();
        assert_eq!(reasons, [(Reason::TooManyItems, 1)]);
        assert_eq!(otlp::spans_of(&decoded.batch), [span(1), span(3)]);
    }
}

#[test]
fn a_million_empty_resources_leave_no_rows() {
    let mut body = [0x0a, 0x02, 0x12, 0x00].repeat(1_000_000);
    body.extend(otlp::encode_spans([&span(1)]));
    let decoded = decode(body).unwrap();
    assert!(decoded.rejected.is_empty());
    assert_eq!(decoded.batch.resources.len(), 1);
    assert_eq!(decoded.batch.scopes.len(), 1);
    assert_eq!(otlp::spans_of(&decoded.batch), [span(1)]);
}

#[test]
fn spans_beyond_the_limit_are_refused_and_the_rest_is_kept() {
    let mut limits = Limits::default();
    limits.request_spans_max = 2;
    let spans: Vec<Span> = (1..=5).map(span).collect();
    let decoded = decode_with(otlp::encode_spans(&spans), &limits).unwrap();
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::TooManySpans, 3)]);
    assert_eq!(otlp::spans_of(&decoded.batch), spans[..2]);
    // What was accepted once is accepted for ever.
    limits.name_bytes_max = 0;
    let now = decode_with(decoded.batch.body.to_vec(), &limits).unwrap();
    assert_eq!(now.batch.n_spans(), 0);
    let stored = otlp::decode_stored(TenantId::single(), decoded.batch.body).unwrap();
    assert_eq!(otlp::spans_of(&stored.batch), spans[..2]);
}

#[test]
fn a_body_beyond_the_limit_is_refused_unread() {
    let mut limits = Limits::default();
    limits.request_decoded_bytes_max = 10;
    let error = decode_with(vec![0xff; 11], &limits).unwrap_err();
    assert_eq!(
        error,
        DecodeError::TooLarge {
            limit: 10,
            seen: 11
        }
    );
}

#[test]
fn every_reason_has_a_name_of_its_own_and_a_sentence() {
    let mut labels: Vec<_> = Reason::ALL.iter().map(|r| r.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reason::ALL.len());
    let snake = |label: &str| {
        label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'8')
    };
    assert!(labels.iter().all(|label| snake(label)));
    assert!(Reason::ALL.iter().all(|r| !r.explanation().is_empty()));
}

/// Found by fuzzing: what is refused is read no further, so it may hide damage; a stored body must
/// not keep it, also where no span was refused with it.
#[test]
fn a_refused_scope_without_spans_is_not_stored() {
    let hidden = |out: &mut Writer| {
        out.message(1, |out| {
            out.bytes(1, &vec![b'a'; Limits::default().name_bytes_max + 1]);
            out.raw(&[0x0a, 0x7f]);
        });
    };
    for resource_level in [true, false] {
        let mut out = Writer::default();
        out.raw(&otlp::encode_spans([&span(1)]));
        out.message(1, |out| {
            if resource_level {
                out.bytes(3, &vec![b'a'; Limits::default().name_bytes_max + 1]);
                out.message(1, |out| out.raw(&[0x0a, 0x7f]));
                out.message(2, |_| {});
            } else {
                out.message(2, hidden);
            }
        });
        let decoded = decode(out.into_bytes()).unwrap();
        assert!(decoded.rejected.is_empty());
        assert_eq!(decoded.batch.body, otlp::encode_spans([&span(1)]));
        let stored = otlp::decode_stored(TenantId::single(), decoded.batch.body).unwrap();
        assert_eq!(otlp::spans_of(&stored.batch), [span(1)]);
    }
}

/// A request of services, each with one bad span, and one good one besides if the number is even.
fn of_services(n: usize) -> Vec<u8> {
    let mut out = Writer::default();
    for number in 0..n {
        let mut spans = vec![span(0), span(1)];
        spans[0].trace_id = TraceId([0; 16]);
        spans.truncate(1 + usize::from(number % 2 == 0));
        let name = format!("service {}", number % 1_000);
        let resource = std::sync::Arc::new(tracewell_model::Resource {
            present: true,
            attributes: vec![attribute("service.name", AttributeValue::String(name))],
            ..Default::default()
        });
        for span in &mut spans {
            span.resource = std::sync::Arc::clone(&resource);
        }
        out.raw(&otlp::encode_spans(&spans));
    }
    // Without a resource at all.
    out.message(1, |out| out.message(2, |out| out.message(2, ids)));
    out.into_bytes()
}

#[test]
fn refused_spans_are_counted_by_the_service_that_sent_them() {
    let decoded = decode(of_services(3)).unwrap();
    let by_service: Vec<_> = decoded.rejected.by_service().collect();
    let bad = Reason::InvalidTraceId;
    assert_eq!(
        by_service,
        [
            ("service 0", bad, 1),
            ("service 1", bad, 1),
            ("service 2", bad, 1)
        ]
    );
    let whole = otlp::spans_by_service(&of_services(3)).unwrap();
    let expected = [
        ("", 1),
        ("service 0", 2),
        ("service 1", 1),
        ("service 2", 2),
    ];
    let expected: Vec<_> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    assert_eq!(whole.into_iter().collect::<Vec<_>>(), expected);

    // What is told apart is limited, and every span is counted.
    let decoded = decode(of_services(5_000)).unwrap();
    assert_eq!(decoded.rejected.total(), 5_000);
    let by_service: Vec<_> = decoded.rejected.by_service().collect();
    assert!(by_service.len() <= 257, "{}", by_service.len());
    let others = by_service
        .iter()
        .find(|(name, ..)| *name == otlp::OTHER_SERVICES);
    assert!(others.unwrap().2 > 4_000);
    assert_eq!(by_service.iter().map(|(.., n)| n).sum::<u64>(), 5_000);
    let whole = otlp::spans_by_service(&of_services(5_000)).unwrap();
    assert!(whole.len() <= 257);
    assert_eq!(whole.values().sum::<u64>(), 7_501);
    assert!(otlp::spans_by_service(b"\x0a\xff").is_err());
}

/// Refuses every other span, and counts what it was asked.
#[derive(Default)]
struct EveryOther {
    asked: usize,
    restarted: usize,
}

impl otlp::Admit for EveryOther {
    fn admit(&mut self, trace_id: TraceId, n_bytes: usize) -> Result<(), Reason> {
        assert!(!trace_id.is_zero() && n_bytes >= 28);
        self.asked += 1;
        match self.asked % 2 {
            1 => Ok(()),
            _ => Err(Reason::TraceTooLarge),
        }
    }

    fn start_again(&mut self) {
        *self = Self {
            restarted: self.restarted + 1,
            ..Self::default()
        };
    }
}

#[test]
fn a_span_that_is_not_admitted_is_refused_alone_and_asked_for_once() {
    let mut spans: Vec<Span> = (1..=5).map(span).collect();
    spans[3].trace_id = TraceId([0; 16]);
    let body = otlp::encode_spans(&spans);
    let mut admit = EveryOther::default();
    let limits = Limits::default();
    let decoded =
        otlp::decode_admitted(TenantId::single(), body.into(), &limits, Some(&mut admit)).unwrap();
    assert_eq!(
        (admit.asked, admit.restarted),
        (4, 0),
        "not for what is wrong anyway"
    );
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(
        reasons,
        [(Reason::InvalidTraceId, 1), (Reason::TraceTooLarge, 2)]
    );
    let kept = [spans[0].clone(), spans[2].clone()];
    assert_eq!(otlp::spans_of(&decoded.batch), kept);

    // A resource that is written twice: the request is walked again once it is merged.
    let mut out = Writer::default();
    out.message(1, |out| {
        out.message(1, |_| {});
        out.message(1, |_| {});
        out.message(2, |out| out.message(2, ids));
    });
    let mut admit = EveryOther::default();
    let decoded = otlp::decode_admitted(
        TenantId::single(),
        out.into_bytes().into(),
        &limits,
        Some(&mut admit),
    )
    .unwrap();
    assert_eq!((admit.asked, admit.restarted), (1, 1));
    assert_eq!(decoded.batch.n_spans(), 1);
}

/// What refused it is found before what is damaged, which nobody reads.
#[test]
fn a_refused_resource_may_be_damaged_behind_what_refused_it() {
    let mut out = Writer::default();
    out.message(1, |out| {
        out.message(1, |out| {
            out.message(1, |out| out.bytes(1, &[0xff]));
            out.raw(&[0x0a, 0x7f]);
        });
        out.message(2, |out| out.message(2, ids));
    });
    out.raw(&of_services(2));
    let decoded = decode(out.into_bytes()).unwrap();
    let by_service: Vec<_> = decoded.rejected.by_service().collect();
    let bad = Reason::InvalidTraceId;
    assert_eq!(
        by_service,
        [
            ("", Reason::InvalidUtf8, 1),
            ("service 0", bad, 1),
            ("service 1", bad, 1)
        ]
    );
}
