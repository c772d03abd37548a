"""Translates a provider's request and response into a row of OpenAI's chat fine-tuning format."""
