//! The signal that this member shuts down: parked watches wait for it beside their event.

use tokio::sync::watch;

/// Given once, seen by everyone who waits.
#[derive(Debug)]
pub struct DrainSignal(watch::Sender<bool>);

impl Default for DrainSignal {
    fn default() -> Self {
        DrainSignal(watch::Sender::new(false))
    }
}

impl DrainSignal {
    /// Gives the signal; again does nothing.
    pub fn give(&self) {
        self.0.send_replace(true);
    }

    /// Ends when the signal is given, at once if it was already.
    pub async fn given(&self) {
        // Fails only when the sender is gone, and that is us.
        _ = self.0.subscribe().wait_for(|given| *given).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn everyone_who_waits_sees_it_and_so_does_who_comes_late() {
        let signal = DrainSignal::default();
        let early = signal.given();
        signal.give();
        early.await;
        signal.given().await;
    }
}
