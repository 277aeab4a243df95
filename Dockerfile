# The app as a Space serves it: a user without rights, port 7860.
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 sketchpad
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
# Owned by root: the app cannot change its own code.
COPY app.py ./
COPY maml ./maml
COPY weights ./weights

USER sketchpad
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    PYTHONUNBUFFERED=1
EXPOSE 7860
CMD ["python", "app.py"]
