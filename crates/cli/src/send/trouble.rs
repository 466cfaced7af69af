//! Tells of trouble that lasts: once, again when it is another one, and when it is over.
//!
//! What passes within [`LASTS`] is told to nobody; a report counts it all the same.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;

/// Who hears of trouble.
pub(crate) type Tell = fn(&str);

/// From the first request that is not taken to the next that is.
#[derive(Debug)]
pub(super) struct Trouble {
    tell: Tell,
    /// Since when requests wait for one that is taken.
    since: Option<Instant>,
    reason: Option<String>,
    /// When, and of which trouble.
    told: Option<(Instant, String)>,
}

/// To whom a command in a terminal tells it.
pub(crate) fn tell(text: &str) {
    eprintln!("{text}");
}

/// Trouble younger than that is not told.
const LASTS: Duration = Duration::from_secs(2);

// === impl Trouble ===

impl Trouble {
    pub(super) fn new(tell: Tell) -> Self {
        Self {
            tell,
            since: None,
            reason: None,
            told: None,
        }
    }

    /// Runs a step of sending, and tells meanwhile what is due.
    pub(super) async fn during<T>(&mut self, step: impl Future<Output = T>) -> T {
        let mut step = pin!(step);
        self.since.get_or_insert_with(Instant::now);
        loop {
            let Some(due) = self.due() else {
                return step.await;
            };
            tokio::select! {
                // A server that refuses at once shall not keep this from being told.
                biased;
                () = tokio::time::sleep_until(due) => self.tell_at(Instant::now()),
                value = &mut step => return value,
            }
        }
    }

    pub(super) fn failed(&mut self, reason: &str) {
        self.reason = Some(reason.to_owned());
    }

    pub(super) fn is_over(&mut self) {
        if self.told.is_some() {
            (self.tell)("spans are taken again");
        }
        *self = Self::new(self.tell);
    }

    fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("there is no answer yet")
    }

    /// When to tell; never where that was told already.
    fn due(&self) -> Option<Instant> {
        let last = match &self.told {
            Some((_, reason)) if reason == self.reason() => return None,
            Some((at, _)) => Some(*at),
            None => self.since,
        };
        last.map(|last| last + LASTS)
    }

    fn tell_at(&mut self, now: Instant) {
        let reason = self.reason().to_owned();
        (self.tell)(&format!("no spans are taken: {reason}; trying on"));
        self.told = Some((now, reason));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_lasts_is_told_once_and_when_it_changes_or_ends() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let told = || std::mem::take(&mut *TOLD.lock().unwrap());
        let start = Instant::now();
        let mut trouble = Trouble::new(|text| TOLD.lock().unwrap().push(text.to_owned()));
        assert_eq!(trouble.due(), None);
        trouble.since = Some(start);
        assert_eq!(trouble.due(), Some(start + LASTS));
        trouble.failed("refused");
        assert_eq!(trouble.due(), Some(start + LASTS));
        trouble.is_over();
        assert_eq!(trouble.due(), None);
        assert!(told().is_empty(), "what passes at once is told to nobody");

        trouble.since = Some(start);
        trouble.tell_at(start + LASTS);
        assert_eq!(trouble.due(), None);
        trouble.failed("refused");
        assert_eq!(trouble.due(), Some(start + LASTS * 2));
        trouble.tell_at(start + LASTS * 2);
        trouble.failed("refused");
        assert_eq!(trouble.due(), None);
        trouble.is_over();
        let expected = [
            "no spans are taken: there is no answer yet; trying on",
            "no spans are taken: refused; trying on",
            "spans are taken again",
        ];
        assert_eq!(told(), expected);
    }

    /// A server that refuses at once is trouble that lasts over many requests.
    #[test]
    fn trouble_that_is_due_is_told_before_the_next_step() {
        static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut trouble = Trouble::new(|text| TOLD.lock().unwrap().push(text.to_owned()));
        trouble.failed("HTTP 404");
        trouble.since = Instant::now().checked_sub(LASTS);
        crate::runtime::small()
            .unwrap()
            .block_on(trouble.during(std::future::ready(())));
        assert_eq!(
            *TOLD.lock().unwrap(),
            ["no spans are taken: HTTP 404; trying on"]
        );
    }
}
