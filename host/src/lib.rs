//! A plugin host: go-plugin processes and WASI components behind one trait.
