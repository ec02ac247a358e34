//! What a connection promises and allows, the same for both of its ends.
//!
//! The surprising fact: windows bound memory, not speed. What one stream may have under way between two gateways is its window, and
//! a reader that stops leaves exactly that much with every gateway on the way.

use std::time::Duration;

use http::HeaderMap;

/// The settings of HTTP/2, and the limits that hold for one connection.
///
/// One connection holds at most about `connection_window` of received data that nobody has read, and for every stream
/// `send_buffer` of data that the peer has not yet taken, besides fixed buffers of some 150 KiB.
///
/// Where streams of one connection belong to different askers, `connection_window` has to be as large as all windows of its streams
/// together ([`Http2::with_room_for_all`]): otherwise some of them, left unread, stop all others.
#[derive(Clone, Debug)]
pub struct Http2 {
    /// Streams that the asking end may have open at once. Default: 128, as nginx (`http2_max_concurrent_streams`); RFC 9113, section
    /// 6.5.2, recommends no fewer than 100. At a server, a stream beyond it is refused (`REFUSED_STREAM`); a client keeps to it even
    /// where its peer allows more.
    pub streams: u32,
    /// Size of a decoded header list (request head or trailers), in bytes, each field counted with 32 bytes more (RFC 9113, section
    /// 6.5.2). Default: 16 KiB, as hyper and the hard limit of gRPC's C-core. A longer one is answered with 431, one of more than four
    /// times that size ends the connection.
    pub header_bytes: u32,
    /// Bytes of a header block as they are sent, compressed, above which an answer counts as too long, whatever HTTP/2 makes of it.
    /// Default: none. A client that reads trailers should set it: h2 leaves out of them what is beyond `header_bytes`, and says nothing.
    pub header_block: Option<usize>,
    /// Size up to which a header list above `header_bytes` is handed to the service of a server all the same, so that it can refuse the
    /// request in the words of its protocol: a gRPC client makes `UNKNOWN` of 431. Default: none. Limits of h2 that follow from the size
    /// then follow from this one.
    pub told_header_bytes: u32,
    /// Time from the first byte of a header block (or of any other frame but `DATA`) to its last. Default: 10 s. Also the time within
    /// which a connection must begin to speak.
    pub header_timeout: Duration,
    /// Bytes of one stream that the peer may send before they are read. Default: 128 KiB.
    pub stream_window: u32,
    /// Bytes of all streams of a connection that the peer may send before they are read. Default: 16 MiB, as much as 128 streams
    /// together: with less, readers that pause on some streams would stop the others.
    pub connection_window: u32,
    /// Largest frame that is accepted, in bytes. Default: 16 KiB, HTTP/2's own and the size of a TLS record. From 16,384 to 16,777,215.
    pub frame_bytes: u32,
    /// Bytes of one stream that wait to be sent before its body is no longer asked for more. Default: 64 KiB.
    pub send_buffer: usize,
    /// What unread `DATA` frames of less than 256 bytes may cost beside the window, in bytes, each counted as what it lacks of 256.
    /// Default: 8 MiB, which lets one stream of the smallest messages (a prefix alone) fill its window. Beyond it the connection ends.
    pub small_frames: usize,
    /// Time in which the asking end has to take something of an answer that waits for it. Default: 60 s. It has passed: the stream is
    /// reset, and what it held is let go.
    pub stall: Duration,
    /// How a dead connection is noticed.
    pub keepalive: Keepalive,
    /// Frames without work (`PING`, `SETTINGS`, `PRIORITY`, `WINDOW_UPDATE`, empty `DATA`, unknown ones) that a peer may send at a stretch.
    /// Default: 1,000, as Envoy's `max_outbound_control_frames`. The allowance refills by 100 a second, and by ten for each frame of
    /// headers or data in either direction (Envoy's ratio for `WINDOW_UPDATE`). Beyond it the connection ends.
    pub idle_frames: u32,
    /// Streams that a peer may reset at a stretch. Default: 1,000. The allowance refills within 30 seconds (nghttp2's
    /// `nghttp2_option_set_stream_reset_rate_limit`: 1,000, and 33 a second), and by one for each stream that is answered to its end, so
    /// that a busy gateway may pass on its callers' cancellations. Beyond it the connection ends.
    pub resets: u32,
}

/// Keeps values that hardly repeat out of the compression table, where they would push out those that do.
///
/// Short values are purposes, content types and the like; long ones are signatures, ids and trace contexts. A value so marked is sent as it
/// is, and debug output hides it.
pub(crate) fn spare_the_table(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        if value.len() > SHORT {
            value.set_sensitive(true);
        }
    }
}

/// Longest value that is worth a place in the compression table, in bytes: shorter than a UUID.
const SHORT: usize = 32;

/// How a dead connection is noticed: a `PING` when nothing came for a while.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Time without a frame from the peer after which it is asked for a sign of life. Default: 20 s.
    pub interval: Duration,
    /// Time it has for that. Default: 10 s. It has passed: the connection ends.
    pub timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            streams: 128,
            header_bytes: 16 * 1024,
            header_block: None,
            told_header_bytes: 0,
            header_timeout: Duration::from_secs(10),
            stream_window: 128 * 1024,
            connection_window: 16 * 1024 * 1024,
            frame_bytes: 16 * 1024,
            send_buffer: 64 * 1024,
            small_frames: 8 * 1024 * 1024,
            stall: Duration::from_secs(60),
            keepalive: Keepalive::default(),
            idle_frames: 1_000,
            resets: 1_000,
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), timeout: Duration::from_secs(10) }
    }
}

impl Http2 {
    /// The largest window that HTTP/2 knows. Source: RFC 9113, section 6.9.1.
    const LARGEST_WINDOW: u32 = (1 << 31) - 1;
    /// The smallest window of a stream that [`Http2::with_room_for_all`] chooses: one frame.
    const LEAST_WINDOW: u32 = 16 * 1024;
    /// The bounds of a frame's size. Source: RFC 9113, section 6.5.2.
    const FRAME_BYTES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;

    /// Lets every stream fill its window without taking room from another, so that a stream that nobody reads stops itself alone.
    ///
    /// The window of the connection becomes that of all [`Http2::streams`] together, and [`Http2::small_frames`] grows with it. With more
    /// than 16,383 streams of 128 KiB, the window of a stream becomes smaller, since HTTP/2 knows none above 2 GiB.
    #[must_use]
    pub fn with_room_for_all(mut self) -> Self {
        let streams = self.streams.max(1);
        self.stream_window = self.stream_window.min((Self::LARGEST_WINDOW / streams).max(Self::LEAST_WINDOW));
        self.connection_window = self.stream_window.saturating_mul(streams).min(Self::LARGEST_WINDOW);
        self.small_frames = self.small_frames.max((self.connection_window as usize).saturating_mul(2));
        self
    }

    pub(crate) fn server(&self) -> h2::server::Builder {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(self.streams)
            .max_header_list_size(self.header_bytes.max(self.told_header_bytes))
            .initial_window_size(self.stream_window.min(Self::LARGEST_WINDOW))
            .initial_connection_window_size(self.connection_window.min(Self::LARGEST_WINDOW))
            .max_frame_size(self.frame_bytes_within_bounds())
            .max_send_buffer_size(self.send_buffer_within_bounds())
            .data_frame_budget(self.small_frames)
            .max_local_error_reset_streams(Some(LOCAL_RESETS))
            // Not h2's own 20: a client that gives up thirty calls at once is no attacker, and what may be reset is counted already.
            .max_pending_accept_reset_streams(usize::try_from(self.resets).unwrap_or(usize::MAX));
        builder
    }

    pub(crate) fn client(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(FIRST_STREAMS)
            .max_header_list_size(self.header_bytes)
            .initial_window_size(self.stream_window.min(Self::LARGEST_WINDOW))
            .initial_connection_window_size(self.connection_window.min(Self::LARGEST_WINDOW))
            .max_frame_size(self.frame_bytes_within_bounds())
            .max_send_buffer_size(self.send_buffer_within_bounds())
            .data_frame_budget(self.small_frames)
            .max_local_error_reset_streams(Some(LOCAL_RESETS));
        builder
    }

    fn frame_bytes_within_bounds(&self) -> u32 {
        self.frame_bytes.clamp(*Self::FRAME_BYTES.start(), *Self::FRAME_BYTES.end())
    }

    fn send_buffer_within_bounds(&self) -> usize {
        self.send_buffer.clamp(1, u32::MAX as usize)
    }
}

/// Streams that this end resets because the peer broke a rule (too many open ones among them) before the connection ends. Hyper's
/// default.
const LOCAL_RESETS: usize = 1_024;
/// Streams that are opened before the peer has said how many it allows. Source: RFC 9113, section 6.5.2 (hyper does the same).
const FIRST_STREAMS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_windows_of_all_streams() {
        let check = |streams, stream_window, connection_window| {
            let http2 = Http2 { streams, ..Http2::default() }.with_room_for_all();
            assert_eq!((http2.stream_window, http2.connection_window), (stream_window, connection_window), "{streams}");
        };
        check(128, 128 * 1024, 16 * 1024 * 1024);
        check(1_024, 128 * 1024, 128 * 1024 * 1024);
        check(32_768, 65_535, 65_535 * 32_768);
        check(0, 128 * 1024, 128 * 1024);
        // More than HTTP/2 has room for; the gateway's limit of exchanges lies far below.
        check(1_000_000, 16 * 1024, (1 << 31) - 1);
    }
}
