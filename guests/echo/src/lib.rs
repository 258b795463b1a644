//! The guest echo.
