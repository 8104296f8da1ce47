"""The server: stores over HTTP, in windows of any length, read-only. Needs the extra `web` (FastAPI, uvicorn)."""
