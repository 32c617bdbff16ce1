//! One tmux driver for many tasks: requests are carried out one after another.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};

use super::{
    Capture, CursorLine, Error, Keys, NewSession, Pane, Paste, Session, Tmux, Typed, TypedLine,
};
use crate::model::ids::Identity;

type CallFuture<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;
type Call<T> = Box<dyn for<'t> FnOnce(&'t mut T) -> CallFuture<'t>>;

/// A handle to a driver that a task of its own owns. The task ends with the last handle.
pub struct Shared<T> {
    requests: mpsc::UnboundedSender<Call<T>>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

impl<T: Tmux + 'static> Shared<T> {
    /// Shares a driver. Must be called on a thread that runs local tasks.
    pub fn new(mut tmux: T) -> Self {
        let (requests, mut queue) = mpsc::unbounded_channel::<Call<T>>();
        tokio::task::spawn_local(async move {
            while let Some(request) = queue.recv().await {
                request(&mut tmux).await;
            }
        });
        Self { requests }
    }

    /// Carries out a request. `None` if the driver has ended.
    async fn ask<R: 'static>(
        &self,
        request: impl for<'t> FnOnce(&'t mut T) -> Pin<Box<dyn Future<Output = R> + 't>> + 'static,
    ) -> Option<R> {
        let (tell, told) = oneshot::channel();
        let request: Call<T> = Box::new(move |tmux| {
            Box::pin(async move {
                // The caller may no longer exist; the request is carried out all the same.
                let _ = tell.send(request(tmux).await);
            })
        });
        self.requests.send(request).ok()?;
        told.await.ok()
    }
}

impl<T: Tmux + 'static> Tmux for Shared<T> {
    async fn panes(&mut self) -> Result<Vec<Pane>, Error> {
        self.ask(|tmux| Box::pin(tmux.panes()))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn cursor_lines(&mut self, panes: &[&Pane]) -> Result<Vec<Option<CursorLine>>, Error> {
        let panes: Vec<Pane> = panes.iter().map(|&pane| pane.clone()).collect();
        self.ask(move |tmux| {
            Box::pin(async move {
                let panes: Vec<&Pane> = panes.iter().collect();
                tmux.cursor_lines(&panes).await
            })
        })
        .await
        .unwrap_or(Err(Error::Closed))
    }

    async fn type_lines(&mut self, lines: &[TypedLine]) -> Vec<Typed> {
        let count = lines.len();
        let lines = lines.to_vec();
        self.ask(move |tmux| Box::pin(async move { tmux.type_lines(&lines).await }))
            .await
            .unwrap_or_else(|| vec![Typed::Unknown(Error::Closed); count])
    }

    async fn screens(&mut self, panes: &[&Identity]) -> Result<Vec<Option<Capture>>, Error> {
        let panes: Vec<Identity> = panes.iter().map(|&pane| pane.clone()).collect();
        self.ask(move |tmux| {
            Box::pin(async move {
                let panes: Vec<&Identity> = panes.iter().collect();
                tmux.screens(&panes).await
            })
        })
        .await
        .unwrap_or(Err(Error::Closed))
    }

    async fn paste(&mut self, paste: &Paste) -> Typed {
        let paste = paste.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.paste(&paste).await }))
            .await
            .unwrap_or(Typed::Unknown(Error::Closed))
    }

    async fn press(&mut self, keys: &Keys) -> Typed {
        let keys = keys.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.press(&keys).await }))
            .await
            .unwrap_or(Typed::Unknown(Error::Closed))
    }

    async fn interrupt(&mut self, identity: &Identity) -> Typed {
        let identity = identity.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.interrupt(&identity).await }))
            .await
            .unwrap_or(Typed::Unknown(Error::Closed))
    }

    async fn close_pipe(&mut self, identity: &Identity) -> Result<(), Error> {
        let identity = identity.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.close_pipe(&identity).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn tail(&mut self, identity: &Identity, lines: u32) -> Result<String, Error> {
        let identity = identity.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.tail(&identity, lines).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn history(&mut self, identity: &Identity, lines: u32) -> Result<String, Error> {
        let identity = identity.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.history(&identity, lines).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn tell_terminals(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let bytes = bytes.to_vec();
        self.ask(move |tmux| Box::pin(async move { tmux.tell_terminals(&bytes).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn sessions(&mut self) -> Result<Vec<Session>, Error> {
        self.ask(|tmux| Box::pin(tmux.sessions()))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn start_session(&mut self, new: &NewSession) -> Result<(), Error> {
        let new = new.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.start_session(&new).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn mark_up(&mut self, session: &Session) -> Result<bool, Error> {
        let session = session.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.mark_up(&session).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }

    async fn end_session(&mut self, session: &Session) -> Result<bool, Error> {
        let session = session.clone();
        self.ask(move |tmux| Box::pin(async move { tmux.end_session(&session).await }))
            .await
            .unwrap_or(Err(Error::Closed))
    }
}
