"""Consul's HTTP API, version 1, of one agent.

    server = await serve(agent, ports)      OSError if the port is taken
    await server.close()                    what is in flight has a moment to end

The HTTP protocol itself is uvicorn's, without its server: it runs on whatever event loop and transports the
network port has. `application` finds the handler of a request and turns errors into answers, `kv`, `status`
and `agent` are the handlers, `parameters` reads what stands behind the question mark.

Source: Consul, agent/http.go, and one file for each group of endpoints (agent/kvs_endpoint.go, ...).
"""

from impl.http.application import HttpAgent
from impl.http.server import HttpServer, serve

__all__ = ["HttpAgent", "HttpServer", "serve"]
