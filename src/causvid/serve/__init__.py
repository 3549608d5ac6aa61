"""Video over the network: a page, a live WebSocket, and jobs, all made by one engine."""
