"""Pure models and the mathematics around them: numpy, scipy, torch, implicit, faiss. No engine, no I/O but their own."""
