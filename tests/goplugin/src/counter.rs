//! The messages of go-plugin's bidirectional example, of a counter whose host does the sums.

use prost::Message;

/// Asks a counter for a sum.
#[derive(Clone, PartialEq, Message)]
pub struct Get {
    /// What the sum is called.
    #[prost(string, tag = "1")]
    pub key: String,
}

/// A sum.
#[derive(Clone, PartialEq, Message)]
pub struct Got {
    /// What it comes to.
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// Has a counter add to a sum.
#[derive(Clone, PartialEq, Message)]
pub struct Put {
    /// Where the host can be asked for it.
    #[prost(uint32, tag = "1")]
    pub add_server: u32,
    /// What the sum is called.
    #[prost(string, tag = "2")]
    pub key: String,
    /// What is added.
    #[prost(int64, tag = "3")]
    pub value: i64,
}

/// Asks a host what two numbers come to.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// The one.
    #[prost(int64, tag = "1")]
    pub a: i64,
    /// The other.
    #[prost(int64, tag = "2")]
    pub b: i64,
}
