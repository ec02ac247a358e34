//! Requests that are read on for a while once nobody wants them: a client that is still sending reads why it was refused only after
//! that, and not every one does once the stream or the connection is closed on it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use exchange::ports::{Broken, RequestBody};
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt as _;
use link::Incoming;
use tokio::runtime::Handle;

/// How long a body is read on that nobody wants any more.
const LINGERING: Duration = Duration::from_secs(2);
/// How much of it is read, in bytes: four times the largest message that is taken by default. It is let go as it comes, and a client that
/// is cut while it sends more than this may not read its answer.
const MOST_LINGERING: usize = 16 * 1024 * 1024;

/// Reads a request on for a while that is answered without having been read.
pub(crate) fn read_on(request: Request<Incoming>) {
    read_rest(request.into_body());
}

/// Reads a body on for a while of which enough was read.
pub(crate) fn read_rest(body: Incoming) {
    drop(Lingering(Some(body)));
}

/// Returns a body that is read on for a while once it is dropped before its end.
pub(crate) fn lingering(body: Incoming) -> RequestBody {
    Box::pin(Lingering(Some(body)).map_err(|_| Broken::Withdrawn))
}

/// None once it has ended.
struct Lingering(Option<Incoming>);

impl http_body::Body for Lingering {
    type Data = bytes::Bytes;
    type Error = link::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let (Some(mut body), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        runtime.spawn(tokio::time::timeout(LINGERING, async move {
            let mut most = MOST_LINGERING;
            while let Some(Ok(chunk)) = body.data().await {
                most = most.saturating_sub(chunk.len());
                if most == 0 {
                    break;
                }
            }
        }));
    }
}
