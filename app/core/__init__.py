"""What web and worker both know. No Flask, no vLLM: one module per noun."""
