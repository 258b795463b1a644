//! A plugin inside a test or a debugger: no host starts it, and one attaches.

use super::invitation::Invitation;
use super::output::Prints;
use super::running::Running;
use super::{End, Serve, ServeError, Session};
use crate::Reattach;
use crate::serving::Placement;
use crate::task::Task;

/// A plugin that serves beside a test. Dropping it ends the plugin at once.
#[derive(Debug)]
pub struct TestServing {
    reattach: Reattach,
    session: Session,
    ended: tokio::sync::oneshot::Receiver<End>,
    _task: Task,
}

impl Serve {
    /// Serves in the background, without a host that started this process.
    ///
    /// No cookie is checked and no line is printed; signals, the parent, logs and panics are left alone. Of the
    /// environment only the temporary directory counts, and the versions, if any.
    pub async fn serve_in_test(self) -> Result<TestServing, ServeError> {
        let invitation = Invitation::without_host(&self.variables);
        let tls = self.tls.clone();
        let prints = Prints::new(self.output_limit);
        let running = Running::listen(self, &invitation, tls, prints, Placement::default()).await?;
        let session = running.session().clone();
        let reattach = Reattach {
            address: running.address().clone(),
            pid: std::process::id(),
            version: session.version(),
            test: true,
        };
        let (tell, ended) = tokio::sync::oneshot::channel();
        let task = Task::spawn(async move {
            // If the receiver was dropped, nobody wants to know.
            let _unheard = tell.send(running.until_end().await);
        });
        Ok(TestServing { reattach, session, ended, _task: task })
    }
}

impl TestServing {
    /// Returns what a host needs to attach.
    #[must_use]
    pub fn reattach(&self) -> &Reattach {
        &self.reattach
    }

    /// Ends the plugin, and returns what ended it.
    pub async fn stop(self) -> End {
        self.session.stop();
        self.ended.await.unwrap_or(End::Stopped)
    }
}
