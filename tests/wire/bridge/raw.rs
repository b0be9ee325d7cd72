//! AMQP 0-9-1 byte by byte, for messages that no library writes. It shares no code with lapin.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_MAX: u32 = 131_072;

/// A connection with one channel in confirm mode.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// As the broker's user `guest`.
    pub(crate) async fn of(url: &str) -> Self {
        Self::with_frames(url, FRAME_MAX).await
    }

    /// The same with frames of up to so many bytes.
    pub(crate) async fn with_frames(url: &str, frame_max: u32) -> Self {
        let (_, rest) = url.split_once('@').expect("a login");
        let (address, _) = rest.split_once('/').expect("a path");
        let stream = TcpStream::connect(address).await.expect("the broker listens");
        let mut raw = Self { stream };
        raw.stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
        raw.expect(10, 10).await;
        let login = [&[0; 4][..], &short(b"PLAIN"), &long(b"\0guest\0guest"), &short(b"en_US")];
        raw.method(0, 10, 11, &login.concat()).await;
        raw.expect(10, 30).await;
        let tune = [&2047_u16.to_be_bytes()[..], &frame_max.to_be_bytes(), &[0; 2]];
        raw.method(0, 10, 31, &tune.concat()).await;
        raw.method(0, 10, 40, &[&short(b"/")[..], &[0, 0]].concat()).await;
        raw.expect(10, 41).await;
        raw.method(1, 20, 10, &[0]).await;
        raw.expect(20, 11).await;
        raw.method(1, 85, 10, &[0]).await;
        raw.expect(85, 11).await;
        raw
    }

    /// Binds a queue.
    pub(crate) async fn bind(&mut self, queue: &str, exchange: &str, key: &[u8]) {
        let names = [&[0; 2][..], &short(queue.as_bytes()), &short(exchange.as_bytes())];
        let arguments = [&names.concat()[..], &short(key), &[0], &[0; 4]].concat();
        self.method(1, 50, 20, &arguments).await;
        self.expect(50, 21).await;
    }

    /// Publishes and waits for the confirm.
    pub(crate) async fn publish(
        &mut self,
        exchange: &str,
        key: &[u8],
        properties: &Properties,
        body: &[u8],
    ) {
        let address = [&[0; 2][..], &short(exchange.as_bytes()), &short(key), &[0]].concat();
        self.method(1, 60, 40, &address).await;
        let size = (body.len() as u64).to_be_bytes();
        let header = [&60_u16.to_be_bytes()[..], &[0; 2], &size, &properties.bytes()].concat();
        self.frame(HEADER, 1, &header).await;
        for part in body.chunks(FRAME_MAX as usize - 8) {
            self.frame(BODY, 1, part).await;
        }
        self.expect(60, 80).await;
    }

    /// Takes one message, if one is there: its properties and its body.
    pub(crate) async fn get(&mut self, queue: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let arguments = [&[0; 2][..], &short(queue.as_bytes()), &[1]].concat();
        self.method(1, 60, 70, &arguments).await;
        let (_, method) = self.read().await;
        if method[..4] == [0, 60, 0, 72] {
            return None;
        }
        assert_eq!(method[..4], [0, 60, 0, 71], "neither a message nor none");
        let (_, header) = self.read().await;
        let size = u64::from_be_bytes(header[4..12].try_into().unwrap());
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            body.extend(self.read().await.1);
        }
        Some((header[12..].to_vec(), body))
    }

    /// Waits for a message.
    pub(crate) async fn take(&mut self, queue: &str) -> (Vec<u8>, Vec<u8>) {
        let deadline = tokio::time::Instant::now() + super::support::PATIENCE;
        loop {
            if let Some(message) = self.get(queue).await {
                return message;
            }
            assert!(tokio::time::Instant::now() < deadline, "nothing came into {queue}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let head = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[&head, arguments].concat()).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        let frame = [&[kind][..], &channel.to_be_bytes(), &length, payload, &[0xCE]].concat();
        self.stream.write_all(&frame).await.unwrap();
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).await.expect("the broker did not hang up");
        let length = u32::from_be_bytes(head[3..].try_into().unwrap()) as usize;
        let mut payload = vec![0; length + 1];
        self.stream.read_exact(&mut payload).await.unwrap();
        assert_eq!(payload.pop(), Some(0xCE), "the frame's end");
        (head[0], payload)
    }

    async fn expect(&mut self, class: u16, method: u16) {
        let (kind, payload) = self.read().await;
        let head = [class.to_be_bytes(), method.to_be_bytes()].concat();
        let said = String::from_utf8_lossy(&payload).into_owned();
        assert!(kind == METHOD && payload.starts_with(&head), "not {class}.{method}: {said}");
    }
}

/// A list of properties, each by the bit of its flag.
#[derive(Clone, Default)]
pub(crate) struct Properties(std::collections::BTreeMap<u8, Vec<u8>>);

/// The properties that are short strings and that the broker does not look into.
pub(crate) const TEXTS: [(&str, u8); 8] = [
    ("content_type", 15),
    ("content_encoding", 14),
    ("correlation_id", 10),
    ("reply_to", 9),
    ("message_id", 7),
    ("type", 5),
    ("app_id", 3),
    ("cluster_id", 2),
];

impl Properties {
    /// With a property that is a short string.
    pub(crate) fn text(mut self, name: &str, text: &[u8]) -> Self {
        let (_, bit) = TEXTS.iter().find(|(known, _)| *known == name).expect("a known property");
        self.0.insert(*bit, short(text));
        self
    }

    /// With headers, each a name and a value as it is on the wire.
    pub(crate) fn headers(mut self, headers: &[(&[u8], Vec<u8>)]) -> Self {
        self.0.insert(13, table(headers));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let flags = self.0.keys().fold(0_u16, |flags, bit| flags | (1 << bit));
        let values = self.0.values().rev().flatten().copied();
        flags.to_be_bytes().into_iter().chain(values).collect()
    }
}

/// A short string.
pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()][..], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn table(fields: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
    let fields = fields.iter().map(|(name, value)| [short(name), value.clone()].concat());
    long(&fields.collect::<Vec<_>>().concat())
}

/// A value that is a long string.
pub(crate) fn text_value(bytes: &[u8]) -> Vec<u8> {
    [b"S".to_vec(), long(bytes)].concat()
}

/// A value that is a table with one field.
pub(crate) fn table_value(name: &[u8], value: Vec<u8>) -> Vec<u8> {
    [b"F".to_vec(), table(&[(name, value)])].concat()
}

/// `levels` arrays within one another.
pub(crate) fn nested_arrays(levels: usize) -> Vec<u8> {
    (0..levels).fold(Vec::new(), |inner, _| [b"A".to_vec(), long(&inner)].concat())
}

/// `levels` tables within one another.
pub(crate) fn nested_tables(levels: usize) -> Vec<u8> {
    let innermost = [b"F".to_vec(), long(b"")].concat();
    (1..levels).fold(innermost, |inner, _| table_value(b"", inner))
}

/// Whether `part` stands somewhere in `whole`.
pub(crate) fn holds(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}
