import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { ApiError } from '../api/errors';
import type { Profile } from '../api/types';
import {
  type Bucket,
  type BucketField,
  type CredentialSource,
  type UpdateBuckets,
  type Via,
  hasField,
  newBucket,
  wrongBucketFields
} from './bucketForm';

type TextField = Exclude<BucketField, 'read_only' | 'via' | 'credentials'>;

/** The buckets of a new runner. */
export function BucketFields(props: {
  buckets: readonly Bucket[];
  problem: ApiError | null;
  profile: Profile | undefined;
  isLocal: boolean;
  onUpdate: (update: UpdateBuckets) => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { buckets, problem, profile, onUpdate, trans } = props;
  const theirs = profile?.settings?.s3 ?? [];
  const list = theirs
    .map(({ bucket, path }) => path || `s3://${bucket}`)
    .join(', ');
  return (
    <fieldset>
      <legend>{trans.__('Buckets of S3')}</legend>
      {list && (
        <p className="gra-Create-note">
          {buckets.length === 0
            ? trans.__('The profile brings %1.', list)
            : trans.__('These take the place of the profile’s: %1.', list)}
        </p>
      )}
      {buckets.map((bucket, index) => (
        <OneBucket
          key={bucket.key}
          bucket={bucket}
          number={index + 1}
          wrong={wrongBucketFields(problem, buckets, index)}
          problem={problem}
          isLocal={props.isLocal}
          onChange={change =>
            onUpdate(all =>
              all.map(each =>
                each.key === bucket.key ? { ...each, ...change } : each
              )
            )
          }
          onRemove={() =>
            onUpdate(all => all.filter(each => each.key !== bucket.key))
          }
          trans={trans}
        />
      ))}
      <FormButton
        label={trans.__('Add a bucket')}
        onClick={() => onUpdate(all => [...all, newBucket(all, profile)])}
      />
    </fieldset>
  );
}

function OneBucket(props: {
  bucket: Bucket;
  number: number;
  wrong: ReadonlySet<BucketField>;
  problem: ApiError | null;
  isLocal: boolean;
  onChange: (change: Partial<Bucket>) => void;
  onRemove: () => void;
  trans: TranslationBundle;
}): React.JSX.Element {
  const { bucket, wrong, problem, isLocal, onChange, trans } = props;
  const marked = (field: BucketField): React.AriaAttributes => ({
    'aria-invalid': wrong.has(field),
    ...(wrong.has(field) && { 'aria-describedby': 'gra-create-problem' })
  });
  const input = (
    field: TextField,
    label: string,
    placeholder: string
  ): React.JSX.Element | null =>
    hasField(bucket, field) ? (
      <label className="gra-Create-field">
        <span>{label}</span>
        <input
          className="jp-mod-styled"
          type="text"
          autoComplete="off"
          spellCheck={false}
          value={bucket[field]}
          placeholder={placeholder}
          {...marked(field)}
          onChange={event => onChange({ [field]: event.target.value })}
        />
      </label>
    ) : null;
  const title = trans.__('Bucket %1', props.number);
  return (
    <div className="gra-Create-bucket" role="group" aria-label={title}>
      <div className="gra-Create-bucketHead">
        <span>{title}</span>
        <FormButton
          label={trans.__('Remove')}
          description={trans.__('Remove bucket %1', props.number)}
          onClick={props.onRemove}
        />
      </div>
      {problem && wrong.size > 0 && (
        // Where it is said first may be out of sight.
        <div className="gra-Create-problem">
          {problem.message} {problem.hint}
        </div>
      )}
      <label className="gra-Create-field">
        <span>{trans.__('Reached')}</span>
        <select
          className="jp-mod-styled"
          value={bucket.via}
          {...marked('via')}
          onChange={event => onChange({ via: event.target.value as Via })}
        >
          <option value="s3fs">{trans.__('as a folder (s3fs)')}</option>
          {!isLocal && (
            <option value="volume">
              {trans.__('as a volume of the cluster')}
            </option>
          )}
          <option value="fsspec">
            {trans.__('from Python, not as a folder (fsspec)')}
          </option>
        </select>
      </label>
      {input('bucket', trans.__('Name'), trans.__('for example lake'))}
      {input('claim', trans.__('Claim'), trans.__('for example lake'))}
      {input('prefix', trans.__('Only below'), trans.__('all of it'))}
      {input('mount', trans.__('Folder'), '/data/lake')}
      {input('endpoint', trans.__('Server'), 'https://s3.amazonaws.com')}
      {input('region', trans.__('Region'), trans.__('none'))}
      {hasField(bucket, 'credentials') && (
        <label className="gra-Create-field">
          <span>{trans.__('Credentials')}</span>
          <select
            className="jp-mod-styled"
            value={bucket.credentials}
            {...marked('credentials')}
            onChange={event =>
              onChange({ credentials: event.target.value as CredentialSource })
            }
          >
            <option value="server">
              {trans.__('of the server’s environment')}
            </option>
            <option value="profile">
              {trans.__('of its ~/.aws/credentials')}
            </option>
            {!isLocal && (
              <option value="secret">{trans.__('in a Secret')}</option>
            )}
            <option value="anonymous">{trans.__('none: it is public')}</option>
          </select>
        </label>
      )}
      {bucket.credentials === 'secret'
        ? input('name', trans.__('Secret'), trans.__('its name'))
        : input('name', trans.__('Section'), 'default')}
      {hasField(bucket, 'read_only') && (
        <label className="gra-Create-check">
          <input
            type="checkbox"
            checked={bucket.read_only}
            {...marked('read_only')}
            onChange={event => onChange({ read_only: event.target.checked })}
          />
          <span>{trans.__('Only to be read')}</span>
        </label>
      )}
    </div>
  );
}

/** A button in a dialog's body. */
function FormButton(props: {
  label: string;
  description?: string;
  onClick: () => void;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="gra-Create-button"
      {...(props.description && { 'aria-label': props.description })}
      onClick={props.onClick}
    >
      {props.label}
    </button>
  );
}
