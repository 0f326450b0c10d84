function handler(event) {
  const request = event.request;
  if (request.uri.endsWith('/')) request.uri += 'index.html';
  console.log('serving', request.uri);
  return request;
}
