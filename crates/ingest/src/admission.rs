//! The byte budget of requests in flight: taken before bytes are read or decompressed, given back
//! when the request has been answered.
//!
//! A request grows its reservation as its bytes arrive, so that a length that was only claimed
//! holds nothing. Whoever finds no room waits a moment, then is refused with a retry hint; since
//! each wait is bounded, requests that wait for each other end as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracewell_model::limits::IN_FLIGHT_BYTES;

use crate::refusal::Refusal;

/// One unit of the semaphore: 32 MiB are 32,768 units.
const UNIT_BYTES: u64 = 1024;
/// What a refused sender is told to wait.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The budget; cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    semaphore: Arc<Semaphore>,
    units: u32,
    wait: Duration,
}

/// What one request holds of the budget; dropping it gives it back.
#[derive(Debug)]
pub struct Reservation {
    admission: Admission,
    permit: Option<OwnedSemaphorePermit>,
    deadline: Instant,
}

// === impl Admission ===

impl Admission {
    /// `wait` bounds what a request waits for room, all its waits together.
    pub fn new(bytes: u64, wait: Duration) -> Self {
        let units = u32::try_from(bytes / UNIT_BYTES)
            .unwrap_or(u32::MAX)
            .clamp(1, u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self {
            semaphore: Arc::new(Semaphore::new(units as usize)),
            units,
            wait,
        }
    }

    pub fn request(&self) -> Reservation {
        Reservation {
            admission: self.clone(),
            permit: None,
            deadline: Instant::now() + self.wait,
        }
    }

    /// Bytes that requests hold now.
    pub fn used_bytes(&self) -> u64 {
        let free = self.semaphore.available_permits() as u64;
        (u64::from(self.units).saturating_sub(free)) * UNIT_BYTES
    }
}

// === impl Reservation ===

impl Reservation {
    /// Holds at least so many bytes, or the whole budget where the request alone would exceed it:
    /// a request within the limits of its size can always pass when nothing else is in flight.
    pub async fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        let wanted = u32::try_from(bytes.div_ceil(UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.admission.units);
        let missing = wanted.saturating_sub(self.units());
        if missing == 0 {
            return Ok(());
        }
        let semaphore = Arc::clone(&self.admission.semaphore);
        let acquired = match Arc::clone(&semaphore).try_acquire_many_owned(missing) {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout_at(self.deadline, semaphore.acquire_many_owned(missing))
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or(Refusal::Busy {
                    limit: IN_FLIGHT_BYTES,
                    retry_after: RETRY_AFTER,
                })?,
        };
        match &mut self.permit {
            Some(permit) => permit.merge(acquired),
            None => self.permit = Some(acquired),
        }
        Ok(())
    }

    /// Gives back what is held above so many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let wanted = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let surplus = self.units().saturating_sub(wanted);
        if let Some(permit) = &mut self.permit {
            drop(permit.split(surplus as usize));
        }
    }

    fn units(&self) -> u32 {
        self.permit
            .as_ref()
            .map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_budget_refuses_and_comes_back() {
        let admission = Admission::new(10 << 10, Duration::ZERO);
        let mut first = admission.request();
        first.grow_to(8 << 10).await.unwrap();
        let mut second = admission.request();
        assert!(matches!(
            second.grow_to(4 << 10).await,
            Err(Refusal::Busy { .. })
        ));
        first.shrink_to(2 << 10);
        second.grow_to(4 << 10).await.unwrap();
        assert_eq!(admission.used_bytes(), 6 << 10);
        drop((first, second));
        assert_eq!(admission.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_request_larger_than_the_budget_takes_all_of_it() {
        let admission = Admission::new(4 << 10, Duration::ZERO);
        let mut request = admission.request();
        request.grow_to(1 << 30).await.unwrap();
        assert_eq!(admission.used_bytes(), 4 << 10);
    }
}
