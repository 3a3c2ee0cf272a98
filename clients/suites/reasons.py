"""Why a test of another library's suite fails with Courant, by suite and test: each looked
into. Empty while none does."""

REASONS = {}
