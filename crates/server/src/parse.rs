//! `POST /api/tracewell/parse`: what a text of TraceQL is, for editors. Nothing is executed, and nobody's data
//! is asked for.

use axum::body::Body;
use tracewell_query::outline::{Examined, Outline, Problem, examine};

use crate::answer::{Answer, Channel, read_body};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::json::Json;

/// What the tree, its outline and the answer take for each byte of a text, at most: every second one may be an operator.
const BYTES_PER_BYTE: u64 = 512;

/// The text of a request: its body.
pub(crate) async fn text_of(body: Body, bytes_max: usize) -> ApiResult<String> {
    // A text that is too large by a little is told so with its place by the parser.
    let bytes = read_body(body, bytes_max.saturating_mul(2)).await?;
    String::from_utf8(bytes.into())
        .map_err(|_| ApiError::BadRequest("the query is no UTF-8".to_owned()))
}

/// It may compile 64 regular expressions of a megabyte, so that it takes the turn of a query and no thread of
/// the connections.
pub(crate) async fn answer(api: &Api, call: &Call) -> ApiResult<Answer> {
    let text = call.params.get("q").unwrap_or_default().to_owned();
    let memory = api.queries.memory();
    // At most half: nobody's query is to be cut short for it.
    let n_bytes = (text.len() as u64 * BYTES_PER_BYTE).min(memory.bytes_max() / 2);
    let (aliases, limits) = (call.aliases, api.limits.clone());
    let examining = |_| async move {
        let Some(held) = memory.try_hold(n_bytes) else {
            return Ok(None);
        };
        // It goes on when the client has left, and holds what it holds.
        let work = move || (examine(&text, aliases, &limits), held);
        Ok(Some(tokio::task::spawn_blocking(work).await))
    };
    let (examined, _permit) = api.gate.run(&call.tenant, examining).await?;
    let Some(examined) = examined else {
        return Err(ApiError::Unavailable(format!(
            "the memory of queries is full (limits.query_memory_bytes_max), and examining this text takes up to \
             {n_bytes} bytes of it: try again"
        )));
    };
    let (examined, held) = examined.map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Answer::json(|json| write_examined(json, &examined)).holding(held))
}

fn write_examined(json: &mut Json<Channel>, examined: &Examined) {
    json.object(|json| {
        json.key("valid").bool(examined.problems.is_empty());
        if let Some(canonical) = &examined.canonical {
            let yields = if examined.is_series {
                "series"
            } else {
                "traces"
            };
            json.key("yields").string(yields);
            json.key("canonical").string(canonical);
        }
        json.key("errors").array(&examined.problems, write_problem);
        if let Some(tree) = &examined.tree {
            json.key("ast");
            write_outline(json, tree);
        }
    });
}

fn write_problem(json: &mut Json<Channel>, problem: &Problem) {
    json.object(|json| {
        json.key("kind").string(problem.kind);
        json.key("from").plain(problem.span.from);
        json.key("to").plain(problem.span.to);
        json.key("line").plain(problem.position.line);
        json.key("column").plain(problem.position.column);
        json.key("message").string(&problem.message);
        if !problem.expected.is_empty() {
            let expected = json.key("expected");
            expected.array(&problem.expected, |json, it| json.string(it));
        }
        if let Some(hint) = &problem.hint {
            json.key("hint").string(hint);
        }
    });
}

fn write_outline(json: &mut Json<Channel>, node: &Outline) {
    json.object(|json| {
        json.key("kind").string(node.kind);
        json.string_unless_empty("text", &node.text);
        if let Some(value_type) = node.value_type {
            json.key("type").string(value_type);
        }
        if let Some(span) = node.span {
            json.key("from").plain(span.from);
            json.key("to").plain(span.to);
        }
        if !node.children.is_empty() {
            json.key("children").array(&node.children, write_outline);
        }
    });
}
