//! Framed connections, the server loop and outgoing links.
